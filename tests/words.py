"""What a person, or a tool, may call a variable: names that are easily written wrong."""

WORDS = [
    *("h[0]", "h_0", "h0", "lambda", "γ", "gamma", "np", "forward", "backward", "cache", "sum"),
    *("Fraction", "scatter", "dx", "x", "dx1", "x1", "t1", "array1", "eps", "ﬁ", "fi", "²", "x²"),
    *("_", "__debug__", "None", "1", "µ", "μ", "é", "x^2", "~", "$x$", "#", "&", r"\frac", "xhat"),
    *("a|b", "`", "``", "{0}", "%", "🙂", "中文", '"""', "'", "\\", "a b", "\n", ""),
]
