import { resolve } from 'node:path'
import { lastingCommand } from '#runtime/argv-of-program.ts'
import type { Env } from '#runtime/read-settings.ts'

/** The name of the server, as clients call its tools: `mcp__s2__complete_task`. */
export const S2_SERVER = 's2'

/** How a driven client starts the tools of S2 for itself. */
export interface S2Tools {
  readonly command: readonly [string, ...string[]]
  /** Where the state of S2 lies, also for clients that hand only a part of their environment on. */
  readonly env: { readonly S2_STATE: string }
  /** What else of the client's environment they need, by name: no value is written into settings or arguments. */
  readonly envNames: readonly string[]
}

export function s2Tools(env: Env, state: string): S2Tools {
  const settings = Object.keys(env).filter((name) => /^S2_(?!TASK_|STATE$)/.test(name))
  return {
    command: lastingCommand('s2', 'mcp'),
    env: { S2_STATE: resolve(state) },
    envNames: [...settings, 'S2_TASK_ID', 'S2_TASK_EPOCH', 'S2_TASK_SESSION'],
  }
}
