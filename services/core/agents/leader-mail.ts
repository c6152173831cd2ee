import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { OwnFolder } from '#spool/own-folder.ts'
import { diskError, parseObject, readPlainFileSync } from '#spool/plain-file.ts'
import { agentsFolder } from './hook-reports.ts'

/** What waits for the orchestrator in the database of this host, for hooks, which ask no program. */
export interface LeaderMail {
  /** When it was so, milliseconds since 1970. */
  readonly at: number
  /** Messages that nobody has in hand, the oldest. */
  readonly ids: readonly number[]
}

export const LEADER_MAIL_MAX = 200
/** The bridge publishes it anew so often, while something waits. */
export const LEADER_MAIL_FRESH_MS = 30_000
/** An older one counts for nothing: its bridge is away. */
const COUNTS_MS = 90_000
const FILE_MAX = 64 * 1024
const NAME = 'leader-mail.json'

/** Whether hooks or a keepalive were ever at work here: nobody else reads it. */
export function wantsLeaderMail(state: string): boolean {
  return existsSync(agentsFolder(state))
}

/** Publishes it whole, in one step, in the folder that is there. `unique` names the draft. Throws `unavailable` where the disk refuses. */
export function publishLeaderMail(state: string, mail: LeaderMail, unique: string): void {
  try {
    using folder = OwnFolder.open(agentsFolder(state))
    const draft = `.${NAME}.${unique}`
    folder.write(draft, `${JSON.stringify(mail)}\n`)
    folder.move(draft, folder, NAME)
  } catch (error) {
    throw diskError('publishing what waits for the orchestrator', error)
  }
}

/** The same messages, by the names that they would have in an inbox. What cannot be read, or is old, counts as nothing. */
export function leaderMailHere(state: string, wall: number): string[] {
  try {
    const text = readPlainFileSync(join(agentsFolder(state), NAME), FILE_MAX)
    const { at, ids } = text === null ? { at: 0, ids: [] } : parseObject(text)
    if (typeof at !== 'number' || Math.abs(wall - at) > COUNTS_MS || !Array.isArray(ids)) return []
    return ids.filter((id) => Number.isSafeInteger(id) && id > 0).map((id) => `${id}.json`)
  } catch {
    return []
  }
}
