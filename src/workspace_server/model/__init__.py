"""The program's nouns: frozen dataclasses and enums. Pure: nothing here does input or output."""
