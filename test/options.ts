import { type ParseArgsConfig, parseArgs } from 'node:util'

/** The values of options. Wrong options and --help print a message and end the program. */
export function readOptions<const T extends NonNullable<ParseArgsConfig['options']>>(help: string, options: T) {
  if (process.argv.slice(2).some((arg) => arg === '--help' || arg === '-h')) {
    console.log(help)
    process.exit(0)
  }
  try {
    return parseArgs({ options }).values
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${help}`)
    process.exit(64)
  }
}
