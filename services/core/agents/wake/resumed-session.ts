import { lstatSync } from 'node:fs'
import type { Clock } from '#runtime/clock.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import type { ClientSession } from '../client-session.ts'
import { forClient, type WakeAdapter } from './adapter.ts'
import { isClientAlive, isOurs } from './client-environment.ts'

export interface ResumeParts {
  readonly clock: Clock
  readonly env: Readonly<Record<string, string | undefined>>
}

/** One turn of a resumed session may take so long, milliseconds. */
const TURN_MS = 1_800_000
const OUTPUT_MAX = 16_000
const SESSION_ID = /^[0-9a-f][0-9a-f-]{7,63}$/i

/**
 * Runs one more turn of a session whose process has ended, without a terminal. It has the permissions that the client gives such a
 * turn, so it is used only where the rules name it.
 */
export function resumedSession({ clock, env }: ResumeParts): WakeAdapter {
  return forClient({
    rung: 'resume',
    timeoutMs: TURN_MS,
    whyNot: async (session) => {
      if (resumeCommand(session) === null) return `how a session of ${session.client} is resumed is not known`
      if (session.process === null || isClientAlive(session)) return 'the process of the session has not ended'
      return isOwnFolder(session.folder) ? null : `${session.folder} is no folder of this user`
    },
    wake: async (session, text, signal) => {
      const argv = resumeCommand(session)
      if (argv === null) throw new Error('the session cannot be resumed')
      const bounds = { timeoutMs: TURN_MS, outputMax: OUTPUT_MAX, beyond: 'keep_tail' } as const
      const ending = await runCommand({ argv, env, input: text, cwd: session.folder, ...bounds }, clock, signal)
      if (hasSucceeded(ending)) return 'read'
      throw new Error(`${argv[0]}: ${howItEnded(ending)}`, { cause: ending.stderr })
    },
  })
}

/**
 * Without a terminal a client runs what the settings of a folder say, and asks nobody. The folder is what a hook reported, which an
 * agent with a user of its own may have made up.
 */
function isOwnFolder(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  return stat?.isDirectory() === true && isOurs(stat.uid)
}

/** The text goes in by standard input: in an argument it might be taken for an option. A person began the session in that folder. */
function resumeCommand({ client, id }: ClientSession): readonly [string, ...string[]] | null {
  if (!SESSION_ID.test(id)) return null
  if (client === 'claude') return ['claude', '-p', `--resume=${id}`]
  return client === 'codex' ? ['codex', 'exec', '--skip-git-repo-check', 'resume', id, '-'] : null
}
