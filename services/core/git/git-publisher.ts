import { chmod, mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance } from '#runtime/clock.ts'
import { hasSucceeded, runCommand } from '#runtime/run-command.ts'
import { editTree, type FileEdits } from './edit-tree.ts'
import { gitEnv } from './git-environment.ts'
import { gitAdviceFor, gitFaultOf, gitMessagesOf } from './git-errors.ts'
import { type GitParts, PrivateRepository } from './private-repository.ts'

export interface GitPublisherConfig {
  readonly remote: string
  readonly branch: string
  /** Bound of one git command. */
  readonly timeoutMs: number
  /** Where it works: a folder of its own. A temporary one unless said. */
  readonly folder?: string
}

export interface GitPublisherParts extends GitParts {
  readonly chance: Chance
}

const TRIES = 12
const RETRY = { firstMs: 100, mostMs: 3_000 }
const TIP = 'refs/s2/tip'
/** Requests are refs of this folder, each named by the SHA-256 of its content: a branch never carries them. */
const REQUESTS = 'refs/s2/requests/'
const REQUEST_FILE = 'request'
const REQUEST = /^refs\/s2\/requests\/[0-9a-f]{64}$/
/** A name that git takes from us as it gave it. */
const NAMEABLE = /^[\x21-\x7e]{1,300}$/
const REQUESTS_MAX = 100
/** How many are fetched singly in a round, where one of them cannot be fetched. */
const SINGLE_MAX = 4
/** Bytes of the largest file that we publish: the list of all credentials. */
const FILE_MAX = 1_048_576

/** Somebody else pushed between our fetch and our push: git's several ways to say so. */
const OVERTAKEN = /\[(remote )?rejected\]|non-fast-forward|fetch first|stale info|cannot lock ref|failed to update ref/i

/** What git says of a repository without refs whose hash is not that of ours. */
const OTHER_HASH = /does not support this repository's hash algorithm/

/**
 * A branch of a git remote as a place to publish files: new content is committed on top of whatever is there and
 * pushed, and no checkout anywhere is touched.
 */
export class GitPublisher implements AsyncDisposable {
  readonly #config: GitPublisherConfig
  readonly #parts: GitPublisherParts
  readonly #repository: PrivateRepository
  /** What the branch pointed to when it was asked last. */
  #tip: string | null = null
  #hasFetched = false
  /** The hash by which a remote without refs turned out to name objects. */
  #formatOfEmpty: ObjectFormat = 'sha1'

  private constructor(config: GitPublisherConfig, parts: GitPublisherParts, folder: string) {
    this.#config = config
    this.#parts = parts
    this.#repository = new PrivateRepository({ ...config, folder, right: 'push' }, parts)
  }

  static async open(config: GitPublisherConfig, parts: GitPublisherParts): Promise<GitPublisher> {
    const folder = config.folder ?? (await mkdtemp(join(parts.env.TMPDIR ?? tmpdir(), 's2-publication-')))
    return new GitPublisher(config, parts, folder)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#repository[Symbol.asyncDispose]()
  }

  /** The branch as it is now. Throws `unavailable`. */
  async snapshot(): Promise<BranchSnapshot> {
    return this.#at(await this.#fetch())
  }

  #at(tip: string | null): BranchSnapshot {
    return {
      tip,
      list: async (folder) => (tip === null ? [] : await this.#list(tip, `${folder}/`)),
      read: async (path) => (tip === null ? null : await this.#read(tip, path)),
    }
  }

  /**
   * Publishes files (path → content; null: removed) in one commit, on top of what others push meanwhile. Answers the commit,
   * the present one when nothing had to change, and the branch as it was before. Throws `unavailable`, or `conflict` when others were faster every time.
   */
  async publish(files: FileEdits, message: string): Promise<Published> {
    const { clock, chance } = this.#parts
    const pauses = new Pauses(RETRY, chance)
    while (pauses.failures < TRIES) {
      const tip = await this.#fetch()
      const commit = await this.#commit(tip, files, message)
      const published = { commit, before: this.#at(tip) }
      if (commit === tip) return published
      const outcome = await this.#push(`${commit}:${this.#repository.branch}`)
      if (outcome === 'taken') return published
      if (outcome === 'overtaken') await pauses.wait(clock)
    }
    throw new S2Error(
      'conflict',
      `branch ${this.#config.branch} of the remote changed before each of ${TRIES} pushes`,
      {
        next: 'try again when less is pushed there, or check that this host may push to the branch',
      },
    )
  }

  /** Leaves a request at the remote for whoever serves its fleet. The same request twice is one. Throws `unavailable`. */
  async leaveRequest(id: string, content: string): Promise<void> {
    const files = new Map([[REQUEST_FILE, content]])
    const push = async (): Promise<PushOutcome> => {
      await this.#repository.prepare(await this.#format())
      return await this.#push(`+${await this.#commit(null, files, 'A request')}:${REQUESTS}${id}`)
    }
    const first = await push()
    if ((first === 'other_hash' ? await push() : first) !== 'taken')
      throw new S2Error('unavailable', 'the remote did not take the request', { next: 'try again' })
  }

  /**
   * The requests that wait at the remote, by id; larger ones than `max` bytes, and what is none, come as empty texts. Throws
   * `unavailable`.
   */
  async requests(max: number): Promise<ReadonlyMap<string, string>> {
    const refs = [...(await this.#repository.refsIn(REQUESTS))]
    const asked = refs.filter(([name]) => REQUEST.test(name)).slice(0, REQUESTS_MAX)
    const others = refs.filter(([name]) => !REQUEST.test(name) && NAMEABLE.test(name)).slice(0, REQUESTS_MAX)
    const found = new Map(others.map(([name]) => [name.slice(REQUESTS.length), '']))
    if (asked.length === 0) return found
    const areAllFetched = await this.#fetchRequests(asked)
    for (const each of areAllFetched ? asked : asked.slice(0, SINGLE_MAX)) {
      const [name] = each
      const isFetched = areAllFetched || (await this.#fetchRequests([each]))
      const content = isFetched ? await this.#blob(`${name}:${REQUEST_FILE}`, max) : null
      found.set(name.slice(REQUESTS.length), content?.toString('utf8') ?? '')
    }
    return found
  }

  /** Answers false where they hold what no request does: one that somebody spoiled must not keep the others from us. */
  async #fetchRequests(refs: readonly (readonly [name: string, object: string])[]): Promise<boolean> {
    try {
      await this.#repository.fetch(
        refs.map(([name]) => `+${name}:${name}`),
        refs[0]?.[1] ?? '',
      )
      return true
    } catch (error) {
      if (isPassing(error)) throw error
      return false
    }
  }

  /** Takes requests away from the remote. */
  async removeRequests(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    const { remote } = this.#config
    await this.#repository.git('removing requests', [
      'push',
      '--quiet',
      '--',
      remote,
      ...ids.map((id) => `:${REQUESTS}${id}`),
    ])
  }

  async #list(tip: string, path: string): Promise<readonly string[]> {
    const { records } = await this.#repository.listing('listing', ['ls-tree', '-z', '--name-only', tip, '--', path])
    return records.map((name) => Buffer.from(name, 'latin1').toString('utf8'))
  }

  /** What we did not publish so, such as a link, a folder or a file of many megabytes, counts as no file. */
  async #read(tip: string, path: string): Promise<Buffer | null> {
    const { records } = await this.#repository.listing('listing', ['ls-tree', '-z', tip, '--', path])
    const object = /^100644 blob (\S+)\t/.exec(records[0] ?? '')?.[1]
    return object === undefined ? null : await this.#blob(object, FILE_MAX)
  }

  /** Null where there is none, or one of more bytes. */
  async #blob(name: string, max: number): Promise<Buffer | null> {
    const size = await this.#repository.run(['cat-file', '-s', name])
    const isFit = hasSucceeded(size) && Number(size.stdout.toString('utf8')) <= max
    const content = isFit ? await this.#repository.run(['cat-file', 'blob', name]) : null
    return content !== null && hasSucceeded(content) ? content.stdout : null
  }

  /** Null when the branch does not exist yet. */
  async #fetch(): Promise<string | null> {
    const { branch } = this.#repository
    const tip = await this.#repository.ref(branch)
    if (tip === null) await this.#repository.prepare(await this.#format())
    else if (tip !== this.#tip || !this.#hasFetched) await this.#repository.fetch([`+${branch}:${TIP}`], tip)
    this.#hasFetched = tip !== null
    this.#tip = tip
    return tip === null
      ? null
      : await this.#repository.line('reading the tip', ['rev-parse', '--verify', `${TIP}^{commit}`])
  }

  /** The hash of the remote: that of any ref it has. One without refs does not tell, until something is pushed there. */
  async #format(): Promise<ObjectFormat> {
    const { records } = await this.#repository.listing('asking the remote', ['ls-remote', '--', this.#config.remote], {
      place: 'nowhere',
    })
    const [object] = records[0]?.split('\t') ?? []
    if (object === undefined) return this.#formatOfEmpty
    return object.length === 64 ? 'sha256' : 'sha1'
  }

  async #commit(tip: string | null, files: FileEdits, message: string): Promise<string> {
    const repository = this.#repository
    const before = tip === null ? null : await repository.line('reading the tree', ['rev-parse', `${tip}^{tree}`])
    const tree = (await editTree(repository, before, files)) ?? (await repository.line('writing the tree', ['mktree']))
    if (tip !== null && tree === before) return tip
    const parents = tip === null ? [] : ['-p', tip]
    return await repository.line('committing', ['commit-tree', tree, ...parents], `${message}\n`)
  }

  async #push(refspec: string): Promise<PushOutcome> {
    const ending = await this.#repository.run(['push', '--quiet', '--', this.#config.remote, refspec])
    if (hasSucceeded(ending)) return 'taken'
    if (this.#formatOfEmpty === 'sha1' && OTHER_HASH.test(ending.stderr)) {
      this.#formatOfEmpty = 'sha256'
      return 'other_hash'
    }
    if (OVERTAKEN.test(ending.stderr) && !/hook declined|protected branch/i.test(ending.stderr)) return 'overtaken'
    throw this.#repository.failure('pushing', ending)
  }
}

/** `overtaken`: somebody else was faster. `other_hash`: the remote has no refs, and names objects by the other hash. */
type PushOutcome = 'taken' | 'overtaken' | 'other_hash'

type ObjectFormat = 'sha1' | 'sha256'

export interface Published {
  readonly commit: string
  readonly before: BranchSnapshot
}

/** A branch at one of its commits. */
export interface BranchSnapshot {
  /** Null: there is no such branch yet. */
  readonly tip: string | null
  /** The content of a plain file of at most a megabyte; null where there is none, whatever lies in its place. */
  read(path: string): Promise<Buffer | null>
  /** The paths of the files in a folder. */
  list(folder: string): Promise<readonly string[]>
}

/** Makes a bare repository to publish in, for its owner alone, unless it is there. Throws `unavailable`. */
export async function makeRemote(
  folder: string,
  branch: string,
  timeoutMs: number,
  { clock, env }: Pick<GitParts, 'clock' | 'env'>,
): Promise<void> {
  // git makes folders by the umask, and this one is its owner's alone.
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await chmod(folder, 0o700)
  const argv = [
    'git',
    'init',
    '--quiet',
    '--bare',
    '--shared=0600',
    `--initial-branch=${branch}`,
    '--',
    folder,
  ] as const
  const bounds = { timeoutMs, outputMax: 65_536, beyond: 'end' } as const
  const ending = await runCommand({ argv: [...argv], env: gitEnv(env), ...bounds }, clock)
  if (hasSucceeded(ending)) return
  throw new S2Error('unavailable', `git failed making ${folder}: ${gitMessagesOf(ending).join('; ')}`, {
    next: gitAdviceFor(gitFaultOf(ending), 'push'),
  })
}
