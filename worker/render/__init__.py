"""What people and machines see: text, JSON, exported files, JSON Schemas. Text from outside is neutralised here."""
