"""The batch job: a prefix of images in, the same names restored out."""
