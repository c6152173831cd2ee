import { parseArgs } from 'node:util'
import { redact } from '#fleet/redact.ts'
import { priorityMarkFor } from '#runtime/journal-priority.ts'
import { programHelp } from '#runtime/program-help.ts'
import type { ProgramName } from '#runtime/settings.ts'
import { VERSION } from '#runtime/version.ts'
import type { CommandContext } from './context.ts'
import { EXIT, Exit, failureOf, formatFailure, UsageError } from './failure.ts'

/** A program that a person runs at a terminal. A program that a service manager runs is a `Program`. */
export interface ConsoleProgram<C> {
  readonly name: ProgramName
  /** What the program does, in a sentence or two. */
  readonly about: string
  /** Its arguments, as help shows them. */
  readonly usage: string
  readonly stops: string
  /** Throws `UsageError` for wrong arguments and `ConfigError` for wrong settings. */
  readConfig(argv: readonly string[], context: CommandContext): C
  run(config: C, context: CommandContext): Promise<void>
}

/** Runs such a program and answers its exit code: 0 done, 1 failed, 64 wrong arguments, 69 cannot work here, 78 wrong settings. Never throws. */
export async function runConsoleProgram<C>(
  program: ConsoleProgram<C>,
  argv: readonly string[],
  context: CommandContext,
): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    context.print(programHelp(program))
    return EXIT.done
  }
  if (argv.includes('--version') || argv.includes('-V')) {
    context.print(`${VERSION}\n`)
    return EXIT.done
  }
  try {
    await program.run(program.readConfig(argv, context), context)
    return EXIT.done
  } catch (error) {
    if (error instanceof Exit) return error.code
    const failure = failureOf(error)
    context.tell(priorityMarkFor(2, context.env)('error', formatFailure(failure, argv.includes('--json'))))
    return failure.exit
  }
}

/** Reads arguments by the rules of node:util's parseArgs. Throws `UsageError` for unknown ones. */
export function readArguments<const O extends Parameters<typeof parseArgs>[0] & object>(
  program: ProgramName,
  argv: readonly string[],
  rules: O,
): ReturnType<typeof parseArgs<O & { args: string[] }>> {
  try {
    return parseArgs({ ...rules, args: [...argv] })
  } catch (error) {
    const [what = ''] = (error as Error).message.split('. ')
    throw new UsageError(redact(what), `node ${program}.js --help shows its arguments`)
  }
}
