"""TypeType-Server: what it answers (models), how it is asked (client), and which streams are taken (choose)."""
