# Makes the copies of schemas/*.proto that our C code is generated from; the wire format stays the same.
# protobuf-c gives a `string` field as char *, which loses its length on the wire ("a\0b" would read as "a"): bytes keep it.
s/\bstring([[:space:]]+[A-Za-z_][A-Za-z0-9_]*[[:space:]]*=)/bytes\1/g
# protobuf-c 1.4 refuses proto3's `optional`, which by definition is a oneof of one field:
# `optional float x = 2;` is set when message->opt_x_case != 0.
s/\boptional[[:space:]]+([A-Za-z0-9_.]+)[[:space:]]+([A-Za-z0-9_]+)([[:space:]]*=[^;]*;)/oneof opt_\2 { \1 \2\3 }/g
