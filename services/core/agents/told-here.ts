import { parseObject } from '#spool/plain-file.ts'
import { SpoolFolders } from '#spool/spool-folders.ts'
import { clientSessionName, type NamedClientSession } from './client-session.ts'
import { NOTHING_TOLD, type Told } from './hook-answer.ts'
import { agentsFolder } from './hook-reports.ts'

/** Bytes of the largest file anybody reads. */
const FILE_MAX = 256 * 1024
/** A session that was told nothing for so long is over, or may be told again. */
const AGE_MAX_MS = 7 * 86_400_000
const CLEARED_MAX = 500

/** What sessions of clients were told on this host: files that hooks write, with the rights of the agent. */
export class ToldHere {
  readonly #folders: SpoolFolders<'told'>

  constructor(state: string, onFault: (fault: string) => void = () => undefined) {
    this.#folders = new SpoolFolders(agentsFolder(state), onFault)
  }

  async ensure(): Promise<void> {
    await this.#folders.ensure(['told'])
  }

  /** Throws what the disk says. */
  read(session: NamedClientSession): Told {
    using folder = this.#folders.hold('told')
    const text = folder.readSync(fileOf(session), FILE_MAX)
    return text === null ? NOTHING_TOLD : toldIn(text)
  }

  /** Throws what the disk says: then nothing may be told, since it would be told again without end. */
  write(session: NamedClientSession, told: Told, unique: string): void {
    using folder = this.#folders.hold('told')
    folder.write(`.${unique}`, `${JSON.stringify(told)}\n`)
    folder.move(`.${unique}`, folder, fileOf(session))
  }

  /** Removes what nobody needs any more. `wall`: milliseconds since 1970. */
  async tidy(wall: number): Promise<void> {
    await this.#folders.clearOld('told', { wall, ageMs: AGE_MAX_MS, most: CLEARED_MAX })
  }
}

function fileOf(session: NamedClientSession): string {
  return `${clientSessionName(session)}.json`
}

function toldIn(text: string): Told {
  try {
    const { mail, blocked, blockedAt } = parseObject(text)
    return { mail: texts(mail), blocked: texts(blocked), blockedAt: numbers(blockedAt) }
  } catch {
    return NOTHING_TOLD
  }
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

function numbers(value: unknown): number[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'number') : []
}
