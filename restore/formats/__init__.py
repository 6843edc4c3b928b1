"""How each file format keeps a picture. Private to `restore.image`; errors here lack the file's name, which it adds."""
