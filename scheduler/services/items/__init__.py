"""Items before they run: checked, and what each will cost."""
