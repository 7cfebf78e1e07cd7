//! Conversions between wire and domain; one refusal for each field that must be there.
