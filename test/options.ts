import { type ParseArgsConfig, parseArgs } from 'node:util'

/** The values of options. What is wrong with them is told, and so is the help where it is asked for; either ends the program. */
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
