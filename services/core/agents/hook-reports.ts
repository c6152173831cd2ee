import { randomBytes } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { folderVersion } from '#spool/atomic-files.ts'
import { diskError } from '#spool/plain-file.ts'
import { codeOf } from '#spool/quarantine.ts'
import { SpoolFolders } from '#spool/spool-folders.ts'
import { type HookReport, readHookReport } from './hook-report.ts'

/** Bytes of the largest report anybody reads. */
const REPORT_MAX = 64 * 1024
/** Reports that may wait. A hook leaves no more beside them: nobody takes them, and they tell of a time that is over. */
const WAITING_MAX = 20_000
/** Bytes of a folder that may hold so many: a smaller one is not counted. */
const COUNTED_FROM = 256 * 1024
const NAME = /^\d{13}-\d{1,10}-[0-9a-f]{8}\.json$/
/** What is set aside, and looked at, in one go: rubbish without end, and what cannot be moved, keep nobody's reports back. */
const SET_ASIDE_MAX = 50
const LOOKED_AT_MAX = 5_000
const DRAFT_AGE_MAX_MS = 600_000
const CLEARED_MAX = 500

export function agentsFolder(state: string): string {
  return join(state, 'agents')
}

/**
 * The reports that hooks leave on this host, in a folder that the agent's user may write: any number of hooks put, keepalive takes. A
 * report survives every end of a process, and not a loss of power, which its client does not survive either.
 */
export class HookReports {
  readonly #folders: SpoolFolders<'tmp' | 'new'>

  constructor(state: string, onFault: (fault: string) => void = () => undefined) {
    this.#folders = new SpoolFolders(join(agentsFolder(state), 'events'), onFault, false)
  }

  folder(): string {
    return this.#folders.path('new')
  }

  async ensure(): Promise<void> {
    await this.#folders.ensure(['tmp', 'new'])
  }

  /**
   * Leaves a report; its name keeps the order of time. `pid` is that of the caller. Answers false where too many wait already. Throws
   * what the disk says: then nothing was left.
   */
  put(report: HookReport, pid: number): boolean {
    using drafts = this.#folders.hold('tmp')
    using waiting = this.#folders.hold('new')
    if (isFull(this.folder())) return false
    const unique = randomBytes(4).toString('hex')
    const name = `${String(report.at).padStart(13, '0')}-${pid}-${unique}.json`
    drafts.write(name, `${JSON.stringify(report)}\n`)
    try {
      drafts.move(name, waiting)
    } catch (error) {
      drafts.tryUnlink(name)
      throw error
    }
    return true
  }

  /** Changes when a report comes or leaves. */
  version(): string {
    return folderVersion(this.folder())
  }

  /** Takes the oldest reports, at most so many: each is removed before it is answered. What is no report goes as well, some at a time. */
  async take(max: number): Promise<HookReport[]> {
    using waiting = this.#folders.holdIfThere('new')
    if (waiting === null) return []
    try {
      const names = (await waiting.names()).filter((name) => !name.startsWith('.')).sort()
      const taken: HookReport[] = []
      let room = SET_ASIDE_MAX
      for (const name of names.slice(0, LOOKED_AT_MAX)) {
        if (taken.length === max) break
        const report = NAME.test(name) ? readIfReport(() => waiting.readSync(name, REPORT_MAX)) : null
        if (report !== null) {
          waiting.tryUnlink(name)
          taken.push(report)
        } else if (room > 0) {
          room -= 1
          await this.#folders.setAside(waiting, name, 'is no report of a hook')
        }
      }
      return taken
    } catch (error) {
      throw diskError('taking reports of hooks', error)
    }
  }

  /** Removes drafts whose writers died. `wall`: milliseconds since 1970. */
  async tidy(wall: number): Promise<void> {
    await this.#folders.clearOld('tmp', { wall, ageMs: DRAFT_AGE_MAX_MS, most: CLEARED_MAX })
  }
}

function isFull(folder: string): boolean {
  return lstatSync(folder).size > COUNTED_FROM && readdirSync(folder).length >= WAITING_MAX
}

function readIfReport(read: () => string | null): HookReport | null {
  try {
    const text = read()
    return text === null ? null : readHookReport(text)
  } catch (error) {
    if (codeOf(error) === 'invalid') return null
    throw error
  }
}
