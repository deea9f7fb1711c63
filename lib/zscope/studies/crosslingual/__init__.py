"""Is there a language-agnostic subspace Z that carries a problem's answer?"""
