"""From limits, pools, pauses and what was learned to the budgets that the engine enforces."""
