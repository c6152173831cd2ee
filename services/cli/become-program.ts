import type { CommandContext } from '#console/context.ts'
import { Exit, type ExitCode } from '#console/failure.ts'
import { programCommand } from '#runtime/program-command.ts'
import type { ProgramName } from '#runtime/settings.ts'

/**
 * Becomes another of our programs, for a command that goes on for long: the same process, terminal and environment, execve(2).
 * The command line imports no program, and none stays in memory behind another.
 */
export async function becomeProgram(
  context: CommandContext,
  program: ProgramName,
  args: readonly string[],
): Promise<never> {
  throw new Exit((await context.become(programCommand(program, ...args))) as ExitCode)
}
