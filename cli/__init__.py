"""The program `lineside`: one file per command, arguments in, call, table out."""
