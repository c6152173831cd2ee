/** The value of an option in a command line that no parser reads, `--option VALUE` or `--option=VALUE`; undefined where it is not there. */
export function optionIn(argv: readonly string[], option: string): string | undefined {
  const at = argv.indexOf(option)
  return at < 0 ? argv.find((each) => each.startsWith(`${option}=`))?.slice(option.length + 1) : argv[at + 1]
}
