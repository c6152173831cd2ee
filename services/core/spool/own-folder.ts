import { isUtf8 } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { readdir, rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { syncPath } from '#runtime/durable-folder.ts'
import { publishInto, writeAllSynced, writeUnsynced } from './atomic-files.ts'
import { invalid, type PlainFile, readPlainFile, readPlainFileSync } from './plain-file.ts'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants
/** How many entries of a folder are removed in one go: the rest goes with the next one. */
const REMOVED_MAX = 10_000

/**
 * A folder that an agent may write in, held open. What is done by it is done in the folder that was opened, whoever swaps its
 * name for a link meanwhile: a path that is looked at first and used afterwards may lead elsewhere by then. Names are those of
 * entries, and never lead out of it. Linux only: `/proc/self/fd/N` is the folder itself, wherever it lies by now (proc(5)).
 */
export class OwnFolder implements Disposable {
  /** Its path when it was opened, for people. */
  readonly path: string
  readonly #file: number
  readonly #held: string
  /** Entries whose names are no UTF-8, by the names that `names` gives them; known when one is asked for. */
  #nameless: Map<string, Buffer[]> | null = null

  private constructor(path: string, file: number) {
    this.path = path
    this.#file = file
    this.#held = `/proc/self/fd/${file}`
  }

  /** Throws `invalid` where a link or the like lies in its place, and else what the system says. */
  static open(path: string): OwnFolder {
    return new OwnFolder(path, openItself(path))
  }

  /** Opens one whose place no agent may write, and which may be a link of its owner's to another disk. */
  static openTop(path: string): OwnFolder {
    return new OwnFolder(path, openSync(path, O_RDONLY | O_DIRECTORY))
  }

  /** Opens a folder in it. Throws as `open`. */
  within(name: string): OwnFolder {
    return new OwnFolder(join(this.path, name), openItself(this.#entry(name)))
  }

  async names(): Promise<string[]> {
    return await this.#doing(readdir(this.#held))
  }

  has(name: string): boolean {
    return existsSync(this.#at(name))
  }

  /** What is known of an entry itself, and of nothing that it links to. */
  lstat(name: string): Stats | undefined {
    return lstatSync(this.#entry(name), { throwIfNoEntry: false })
  }

  /** As readPlainFile. */
  async read(name: string, bytesMax: number): Promise<PlainFile | null> {
    return await this.#doing(readPlainFile(this.#at(name), bytesMax))
  }

  /** As readPlainFileSync. */
  readSync(name: string, bytesMax: number): string | null {
    try {
      return readPlainFileSync(this.#at(name), bytesMax)
    } catch (error) {
      throw withPath(error, this)
    }
  }

  /** As writeAllSynced. */
  async writeAll(files: readonly { readonly name: string; readonly content: string }[]): Promise<void> {
    await this.#doing(writeAllSynced(files.map(({ name, content }) => ({ path: this.#at(name), content }))))
  }

  /** As publish. */
  async publish(name: string, content: string): Promise<void> {
    await this.#doing(publishInto(this.#held, entryName(name), content))
  }

  /** Writes a file that nobody misses after a loss of power. */
  note(name: string, content: string): void {
    writeFileSync(this.#at(name), content, { mode: 0o600, flag: 'wx' })
  }

  /** Writes a whole file that need not survive a loss of power; readable for the group that the folder is shared with. */
  write(name: string, content: string): void {
    writeUnsynced(this.#at(name), content)
  }

  /** Moves an entry into a folder, or gives it another name there. At once: it only moves memory. */
  move(name: string, to: OwnFolder, newName = name): void {
    try {
      renameSync(this.#entry(name), to.#at(newName))
    } catch (error) {
      throw withPath(withPath(error, this), to)
    }
    this.#isGone(name)
  }

  async unlink(name: string): Promise<void> {
    await this.#doing(unlink(this.#at(name)))
  }

  tryUnlink(name: string): void {
    try {
      unlinkSync(this.#at(name))
    } catch {
      // whoever calls it tells a greater evil
    }
  }

  async sync(): Promise<void> {
    await this.#doing(syncPath(this.#held))
  }

  /**
   * Removes what lies under a name, a folder with all in it. Folders within it are moved up before they are looked into, so
   * that no path is longer than one name, however deep they lie and whatever is swapped for a link meanwhile.
   */
  async remove(name: string): Promise<void> {
    if (await this.#removeOne(name)) return
    let room = REMOVED_MAX
    const folders = [name]
    for (let each = folders.pop(); each !== undefined; each = folders.pop()) {
      using inner = this.within(each)
      for (const entry of await inner.names()) {
        if (room === 0) throw invalid(`holds more than ${REMOVED_MAX} files`)
        room -= 1
        if (await inner.#removeOne(entry)) continue
        const moved = randomBytes(8).toString('hex')
        inner.move(entry, this, moved)
        folders.push(moved)
      }
      await this.#doing(rmdir(this.#entry(each)))
      this.#isGone(each)
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  /** Answers false for a folder that holds something. */
  async #removeOne(name: string): Promise<boolean> {
    try {
      await unlink(this.#entry(name)).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EISDIR' && error.code !== 'EPERM') throw error
        await rmdir(this.#entry(name))
      })
      this.#isGone(name)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTEMPTY' || code === 'EEXIST') return false
      if (code !== 'ENOENT') throw withPath(error, this)
    }
    return true
  }

  async #doing<T>(act: Promise<T>): Promise<T> {
    return await act.catch((error: unknown) => {
      throw withPath(error, this)
    })
  }

  #at(name: string): string {
    return `${this.#held}/${entryName(name)}`
  }

  /** The same for an entry that another made: its name may be any bytes, which `names` shows with replacement characters. */
  #entry(name: string): string | Buffer {
    const [bytes] = name.includes(REPLACEMENT) ? (this.#listNameless().get(name) ?? []) : []
    return bytes === undefined ? this.#at(name) : Buffer.concat([Buffer.from(`${this.#held}/`), bytes])
  }

  /** Several entries may be shown by one name: the next one has it from here on. */
  #isGone(name: string): void {
    this.#nameless?.get(name)?.shift()
  }

  #listNameless(): ReadonlyMap<string, Buffer[]> {
    if (this.#nameless !== null) return this.#nameless
    const entries = readdirSync(this.#held, { encoding: 'buffer' }).filter((bytes) => !isUtf8(bytes))
    this.#nameless = Map.groupBy(entries, String)
    return this.#nameless
  }

  /** A text of the system with the folder's path, in place of the one that only this process understands. */
  named(text: string): string {
    return text.replaceAll(new RegExp(`${this.#held}(?!\\d)`, 'g'), () => this.path)
  }
}

/** What stands in a text for bytes that are no UTF-8. */
const REPLACEMENT = '\ufffd'

/**
 * Whether something that is neither a folder nor a file lies in a folder's place. An agent owns its spool, and a link there
 * would lead our writes, renames and removals into folders of others. A plain file is left for the disk's own error.
 */
export function isDisplaced(folder: string | Buffer): boolean {
  try {
    const stat = lstatSync(folder, { throwIfNoEntry: false })
    return stat !== undefined && !stat.isDirectory() && !stat.isFile()
  } catch {
    return false // whatever is used there next says what is wrong
  }
}

export const NO_FOLDER = 'is no folder but a link or a device, which is not followed'

/** Opens a folder and no link to one: the system looks and opens in one step. */
function openItself(path: string | Buffer): number {
  try {
    return openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    throw isDisplaced(path) ? invalid(NO_FOLDER) : error
  }
}

function entryName(name: string): string {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) throw invalid('is no name of an entry')
  return name
}

function withPath(error: unknown, folder: OwnFolder): unknown {
  if (!(error instanceof Error)) return error
  error.message = folder.named(error.message)
  for (const field of ['path', 'dest'] as const) {
    const known = (error as NodeJS.ErrnoException & { dest?: string })[field]
    if (known !== undefined) Object.assign(error, { [field]: folder.named(String(known)) })
  }
  return error
}
