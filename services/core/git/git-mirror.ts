import { S2Error } from '#fleet/errors.ts'
import { type GitParts, OBJECT_ID, PrivateRepository, type PrivateRepositoryConfig } from './private-repository.ts'

export type GitMirrorConfig = Omit<PrivateRepositoryConfig, 'right'>

/**
 * One branch of a remote, read as blobs from a bare repository: nothing of it is ever checked out, merged, filtered or
 * run.
 */
export class GitMirror {
  readonly #repository: PrivateRepository

  constructor(config: GitMirrorConfig, parts: GitParts) {
    this.#repository = new PrivateRepository({ ...config, right: 'read' }, parts)
  }

  /** The commit at the tip of the branch, asked of the remote; null when it has no such branch. Throws `unavailable`. */
  async tip(): Promise<string | null> {
    return await this.#repository.ref(this.#repository.branch)
  }

  /** Fetches the tip, whatever its history, and answers its commit. `tip` is what was answered for it. Throws `unavailable`. */
  async fetch(tip: string): Promise<string> {
    await this.#repository.fetch([`+${this.#repository.branch}:${TIP}`], tip)
    const commit = await this.#repository.line('reading the tip', ['rev-parse', '--verify', `${TIP}^{commit}`])
    if (!OBJECT_ID.test(commit)) throw new S2Error('unavailable', 'git named no commit at the tip of the branch')
    return commit
  }

  /** A plain file of a commit; null when there is none. Refuses links, folders, submodules and files of more than `max` bytes. */
  async file(commit: string, path: string, max: number): Promise<Buffer | null> {
    const listing = await this.#repository.git('listing', ['ls-tree', '-z', '-l', commit, '--', path])
    const [entry = ''] = listing.toString('utf8').split('\0')
    if (entry === '') return null
    const match = /^(\d{6}) (\w+) ([0-9a-f]{40,64}) +(\d+|-)\t/.exec(entry)
    const [, mode, kind, object = '', size] = match ?? []
    if (mode !== '100644' || kind !== 'blob') {
      const what = mode === '120000' ? 'a symbolic link' : `no plain file (mode ${mode ?? '?'})`
      throw new S2Error('invalid', `${path} is ${what}`, { next: 'commit it as a plain file with mode 100644' })
    }
    if (Number(size) > max) throw new S2Error('too_large', `${path} has ${size} bytes; ${max} are allowed`)
    return await this.#repository.git('reading', ['cat-file', 'blob', object])
  }
}

/** The ref of the fetched tip; it is no branch, so that nothing takes it for one. */
const TIP = 'refs/s2/tip'
