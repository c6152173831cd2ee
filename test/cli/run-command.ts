import { basename, dirname } from 'node:path'
import { s2 } from '../../services/cli/command-tree.ts'
import { type ConsoleProgram, runConsoleProgram } from '../../services/core/console/console-program.ts'
import type { CommandContext } from '../../services/core/console/context.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'

/** What a command said, and how it ended. */
export interface Outcome {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a command line in this process, with an environment, a folder and an input of the test's own. */
export async function run(
  argv: readonly string[],
  world: Partial<CommandContext> & { readonly stdin?: string } = {},
): Promise<Outcome> {
  let out = ''
  let err = ''
  const nothing: Disposable = { [Symbol.dispose]: () => undefined }
  const context: CommandContext = {
    env: {},
    folder: '/nonexistent',
    clock: systemClock,
    chance: () => 0.5,
    screen: { isTerminal: false, columns: 100, rows: 30, coloured: false },
    isAttended: true,
    print: (text) => {
      out += text
    },
    flush: async () => true,
    tell: (text) => {
      err += text
    },
    ask: async () => '',
    input: async (max) => (world.stdin ?? '').slice(0, max),
    onSignal: () => nothing,
    onKey: () => nothing,
    onResize: () => nothing,
    onExit: () => nothing,
    become: async ([, file = '', ...args]) => {
      const { program } = (await import(file.replace(/main\.ts$/, `${basename(dirname(file))}.ts`))) as {
        program: ConsoleProgram<unknown>
      }
      return await runConsoleProgram(program, args, context)
    },
    ...world,
  }
  const code = await s2(argv, context)
  return { code, out, err }
}
