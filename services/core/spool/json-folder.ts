import { ensureFolder, folderVersion } from './atomic-files.ts'
import { OwnFolder } from './own-folder.ts'
import { diskError, parseObject } from './plain-file.ts'
import { codeOf } from './quarantine.ts'

export type JsonFields = Readonly<Record<string, unknown>>

export interface JsonFolderParts<T> {
  readonly path: string
  /** What it holds, for messages on faults, such as `tasks that are held`. */
  readonly holds: string
  /** Reads what anybody of the host may have written. Null, or an error, for what is none. */
  parse(fields: JsonFields): T | null
  /** The name that a record has there, without its ending. */
  nameOf(record: T): string
}

/** Bytes of the largest file that is read. */
const FILE_MAX = 64_000
/** How many are looked at: nobody has more. */
const FILES_MAX = 1_000
const ENDING = '.json'

/**
 * A folder of records, each a JSON file that is replaced whole. An agent's own user may write here, so that what is no such file, or
 * is not named like its record, is passed over. Verbs throw `unavailable` when the disk refuses.
 */
export class JsonFolder<T> {
  readonly #parts: JsonFolderParts<T>

  constructor(parts: JsonFolderParts<T>) {
    this.#parts = parts
  }

  get path(): string {
    return this.#parts.path
  }

  /** Changes when a file comes, changes or goes. */
  version(): string {
    return folderVersion(this.path)
  }

  async ensure(): Promise<void> {
    await ensureFolder(this.path).catch((error) => {
      throw diskError(`making the folder of ${this.#parts.holds}`, error)
    })
  }

  async list(): Promise<T[]> {
    using folder = this.#open()
    if (folder === null) return []
    const names = (await folder.names()).filter((name) => name.endsWith(ENDING) && !name.startsWith('.'))
    return names
      .sort()
      .slice(0, FILES_MAX)
      .flatMap((name) => this.#read(folder, name) ?? [])
  }

  /** The record of a name; null where there is none. */
  find(name: string): T | null {
    using folder = this.#open()
    return folder === null ? null : this.#read(folder, `${name}${ENDING}`)
  }

  async put(record: T): Promise<void> {
    try {
      await ensureFolder(this.path)
      using folder = OwnFolder.open(this.path)
      await folder.publish(`${this.#parts.nameOf(record)}${ENDING}`, `${JSON.stringify(record)}\n`)
    } catch (error) {
      throw diskError(`writing into the folder of ${this.#parts.holds}`, error)
    }
  }

  /** Nothing happens where it is not there. */
  async remove(name: string): Promise<void> {
    using folder = this.#open()
    await folder?.unlink(`${name}${ENDING}`).catch((error) => {
      if (codeOf(error) !== 'ENOENT') throw diskError(`removing from the folder of ${this.#parts.holds}`, error)
    })
  }

  /** Null where it is not there, or is no folder. */
  #open(): OwnFolder | null {
    try {
      return OwnFolder.open(this.path)
    } catch (error) {
      if (/^(ENOENT|invalid)$/.test(codeOf(error))) return null
      throw diskError(`looking into the folder of ${this.#parts.holds}`, error)
    }
  }

  #read(folder: OwnFolder, file: string): T | null {
    try {
      const text = folder.readSync(file, FILE_MAX)
      const record = text === null ? null : this.#parts.parse(parseObject(text))
      return record !== null && file === `${this.#parts.nameOf(record)}${ENDING}` ? record : null
    } catch {
      return null
    }
  }
}
