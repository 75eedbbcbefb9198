"""Whether every row could be computed."""
