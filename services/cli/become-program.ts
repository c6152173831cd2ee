import type { CommandContext } from '#console/context.ts'
import { Exit, type ExitCode } from '#console/failure.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import type { ProgramName } from '#runtime/settings.ts'

/**
 * Replaces this process with another of our programs, in the same terminal and environment, execve(2). A command that runs for
 * long does so, because the command line imports no program and would otherwise stay in memory beside it.
 */
export async function becomeProgram(
  context: CommandContext,
  program: ProgramName,
  args: readonly string[],
): Promise<never> {
  throw new Exit((await context.become(programCommand(program, ...args))) as ExitCode)
}
