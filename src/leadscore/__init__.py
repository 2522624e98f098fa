"""How likely each open lead is to reach each later stage, learnt from the funnel's recorded history."""
