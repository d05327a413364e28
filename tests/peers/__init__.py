"""tinygraph beside other engines; a package, because its files share names with those above."""
