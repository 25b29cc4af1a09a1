"""Direct calls: one request, admitted by the same budgets, answered in the same call."""
