"""What the business does; nothing of Missions, although Missions has a package of this name too."""

CURRENCY = "EUR"
