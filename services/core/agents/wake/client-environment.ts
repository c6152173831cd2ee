import { readFileSync, readlinkSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { isRunning } from '#runtime/process-life.ts'
import { isProgramOf } from '../client-process.ts'
import type { ClientSession } from '../client-session.ts'

/** What a running client was started with. */
export interface ClientEnvironment {
  readonly env: Readonly<Record<string, string>>
  readonly argv: readonly string[]
  /** The program itself. */
  readonly program: string
}

/** Whether the process of a session lives: its number may be that of a later one by now. */
export function isClientAlive({ process: known }: Pick<ClientSession, 'process'>): boolean {
  return known !== null && isRunning(known)
}

/**
 * What the process of a session was started with, by /proc; null where it has ended, belongs to another user or runs another program:
 * whoever may leave reports of hooks can name any process.
 */
export function clientEnvironment(session: Pick<ClientSession, 'client' | 'process'>): ClientEnvironment | null {
  if (session.process === null || !isClientAlive(session)) return null
  const folder = `/proc/${session.process.pid}`
  try {
    if (!isOurs(statSync(folder).uid) || !isProgramOf(session.client, folder)) return null
    const pairs = readFileSync(`${folder}/environ`, 'utf8').split('\0')
    const env = Object.fromEntries(pairs.filter((each) => each.includes('=')).map(splitPair))
    const argv = readFileSync(`${folder}/cmdline`, 'utf8').split('\0').slice(0, -1)
    return { env, argv, program: readlinkSync(`${folder}/exe`) }
  } catch {
    return null
  }
}

/** The folder where a client keeps what is its user's: that of a variable of its own, else one in the home. */
export function clientFolder(env: Readonly<Record<string, string | undefined>>, own: string, usual: string): string {
  return env[own] ?? join(env.HOME ?? homedir(), usual)
}

/** Whether a file, socket or process belongs to the user that this program runs as. */
export function isOurs(uid: number): boolean {
  return uid === process.getuid?.()
}

function splitPair(pair: string): [string, string] {
  const cut = pair.indexOf('=')
  return [pair.slice(0, cut), pair.slice(cut + 1)]
}
