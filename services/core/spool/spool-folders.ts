import { basename, dirname, join } from 'node:path'
import { ensureFolder } from './atomic-files.ts'
import { isDisplaced, NO_FOLDER, OwnFolder } from './own-folder.ts'
import { diskError } from './plain-file.ts'
import { codeOf, quarantine, shownPlace } from './quarantine.ts'

/** How many names are looked at in one go. */
const LOOKED_AT_MAX = 5_000

/** The folders of an inbox or an outbox. An agent may write in them, and put something else in the place of each at any time. */
export class SpoolFolders<Name extends string> {
  readonly root: string
  readonly #onFault: (fault: string) => void
  readonly #isRootFixed: boolean

  /** `isRootFixed`: only its owner puts something else in the place of the root, which may be a link of theirs to another disk. */
  constructor(root: string, onFault: (fault: string) => void, isRootFixed = true) {
    this.root = root
    this.#onFault = onFault
    this.#isRootFixed = isRootFixed
  }

  path(folder: Name): string {
    return join(this.root, folder)
  }

  /** Opens a folder. Throws `invalid` where a link or the like lies in its place, and else what the system says. */
  hold(folder: Name): OwnFolder {
    if (this.#isRootFixed) return OwnFolder.open(this.path(folder))
    using root = OwnFolder.open(this.root)
    return root.within(folder)
  }

  /** Opens a folder; null where there is none. */
  holdIfThere(folder: Name): OwnFolder | null {
    try {
      return this.hold(folder)
    } catch (error) {
      const code = codeOf(error)
      if (code === 'ENOENT' || code === 'invalid') return null
      throw diskError(`looking into ${this.#shown(folder)}`, error)
    }
  }

  /** The names in a folder; none where there is no folder. */
  async names(folder: Name): Promise<string[]> {
    using held = this.holdIfThere(folder)
    try {
      return (await held?.names()) ?? []
    } catch (error) {
      throw diskError(`looking into ${this.#shown(folder)}`, error)
    }
  }

  /** Makes folders that are missing, and puts away what somebody planted in the place of one. */
  async ensure(folders: readonly Name[]): Promise<void> {
    if (!this.#isRootFixed) await new SpoolFolders(dirname(this.root), this.#onFault).ensure([basename(this.root)])
    for (const folder of folders) {
      if (isDisplaced(this.path(folder))) {
        using top = OwnFolder.openTop(this.root)
        await this.setAside(top, folder, NO_FOLDER)
      }
      await ensureFolder(this.path(folder))
    }
  }

  isDisplaced(folders: readonly Name[]): boolean {
    return folders.some((each) => isDisplaced(this.path(each)))
  }

  /** Puts what does not belong in a folder into `bad/`, and tells so. Never throws. */
  async setAside(folder: OwnFolder, name: string, why: string): Promise<void> {
    this.#onFault(await quarantine(this.root, folder, name, why))
  }

  /**
   * Removes what was last changed longer than `ageMs` before or after `wall` (milliseconds since 1970, by a clock that may be set), not
   * more than `most` at a time.
   */
  async clearOld(
    folder: Name,
    { wall, ageMs, most }: { readonly wall: number; readonly ageMs: number; readonly most: number },
  ): Promise<void> {
    using held = this.holdIfThere(folder)
    if (held === null) return
    let room = most
    for (const name of (await held.names()).slice(0, LOOKED_AT_MAX)) {
      if (Math.abs(wall - (held.lstat(name)?.mtimeMs ?? wall)) <= ageMs) continue
      if (room === 0) return
      room -= 1
      await this.clear(held, name)
    }
  }

  /** Removes what nobody needs. Never throws: what cannot be removed stays, and is told. */
  async clear(folder: OwnFolder, name: string): Promise<void> {
    try {
      await folder.remove(name)
    } catch (error) {
      this.#onFault(`${shownPlace(this.root, folder, name)} is left over and could not be removed (${codeOf(error)})`)
    }
  }

  #shown(folder: Name): string {
    return this.path(folder).split('/').slice(-2).join('/')
  }
}
