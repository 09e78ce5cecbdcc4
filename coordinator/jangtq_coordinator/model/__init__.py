"""MiniMax-M2 without its routed experts: a MoE block calls dispatch."""
