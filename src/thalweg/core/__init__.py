"""The five nouns: problem, method, point and trace, comparison's recipe, paper."""
