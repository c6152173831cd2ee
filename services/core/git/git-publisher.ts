import { chmod, mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance } from '#runtime/clock.ts'
import { hasSucceeded, runCommand } from '#runtime/run-command.ts'
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
const REQUESTS_MAX = 100

/** Somebody else pushed between our fetch and our push: git's several ways to say so. */
const OVERTAKEN = /\[(remote )?rejected\]|non-fast-forward|fetch first|stale info|cannot lock ref|failed to update ref/i

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
    const tip = await this.#fetch()
    const list = async (path: string): Promise<string[]> => (tip === null ? [] : await this.#list(tip, path))
    return {
      tip,
      list: (folder) => list(`${folder}/`),
      read: async (path) =>
        (await list(path)).includes(path)
          ? await this.#repository.git('reading', ['cat-file', 'blob', `${tip}:${path}`])
          : null,
    }
  }

  /**
   * Publishes files (path → content; null: removed) in one commit, on top of what others push meanwhile. Answers the commit;
   * the present one when nothing had to change. Throws `unavailable`, or `conflict` when others were faster every time.
   */
  async publish(files: ReadonlyMap<string, string | null>, message: string): Promise<string> {
    const { clock, chance } = this.#parts
    const pauses = new Pauses(RETRY, chance)
    while (pauses.failures < TRIES) {
      const tip = await this.#fetch()
      const commit = await this.#commit(tip, files, message)
      if (commit === tip) return commit
      if (await this.#push(`${commit}:${this.#repository.branch}`)) return commit
      await pauses.wait(clock)
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
    await this.#repository.prepare(await this.#format())
    const commit = await this.#commit(null, new Map([[REQUEST_FILE, content]]), 'A request')
    if (!(await this.#push(`+${commit}:${REQUESTS}${id}`)))
      throw new S2Error('unavailable', 'the remote did not take the request', { next: 'try again' })
  }

  /** The requests that wait at the remote, by id; larger ones than `max` bytes come as empty texts. Throws `unavailable`. */
  async requests(max: number): Promise<ReadonlyMap<string, string>> {
    const refs = [...(await this.#repository.refs(`${REQUESTS}*`))].slice(0, REQUESTS_MAX)
    const found = new Map<string, string>()
    const [first] = refs
    if (first === undefined) return found
    await this.#repository.fetch(
      refs.map(([name]) => `+${name}:${name}`),
      first[1],
    )
    for (const [name] of refs) {
      const blob = `${name}:${REQUEST_FILE}`
      const size = await this.#repository.run(['cat-file', '-s', blob])
      const isFit = hasSucceeded(size) && Number(size.stdout.toString('utf8')) <= max
      const content = isFit ? await this.#repository.git('reading a request', ['cat-file', 'blob', blob]) : Buffer.of()
      found.set(name.slice(REQUESTS.length), content.toString('utf8'))
    }
    return found
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

  async #list(tip: string, path: string): Promise<string[]> {
    const listing = await this.#repository.git('listing', ['ls-tree', '-z', '--name-only', tip, '--', path])
    return listing
      .toString('utf8')
      .split('\0')
      .filter((name) => name !== '')
  }

  /** Null when the branch does not exist yet. */
  async #fetch(): Promise<string | null> {
    const { branch } = this.#repository
    const tip = (await this.#repository.refs(branch)).get(branch) ?? null
    if (tip === null) await this.#repository.prepare(await this.#format())
    else if (tip !== this.#tip || !this.#hasFetched) await this.#repository.fetch([`+${branch}:${TIP}`], tip)
    this.#hasFetched = tip !== null
    this.#tip = tip
    return tip === null
      ? null
      : await this.#repository.line('reading the tip', ['rev-parse', '--verify', `${TIP}^{commit}`])
  }

  /** The hash of the remote: that of any ref it has; an empty remote on this machine is asked itself. */
  async #format(): Promise<'sha1' | 'sha256'> {
    const answer = await this.#repository.git('asking the remote', ['ls-remote', '--', this.#config.remote], {
      place: 'nowhere',
    })
    const [object = ''] = answer.toString('utf8').split('\t')
    return object.length === 64 ? 'sha256' : 'sha1'
  }

  async #commit(tip: string | null, files: ReadonlyMap<string, string | null>, message: string): Promise<string> {
    const repository = this.#repository
    await repository.git('reading the tree', tip === null ? ['read-tree', '--empty'] : ['read-tree', tip])
    for (const [path, content] of files) {
      if (content === null) {
        // Mode 0 takes a path out of the index, and needs no work tree. git-update-index(1)
        const nothing = '0'.repeat(tip?.length ?? 40)
        await repository.git('removing a file', ['update-index', '--index-info'], { input: `0 ${nothing}\t${path}\n` })
        continue
      }
      const blob = await repository.line('storing a file', ['hash-object', '-w', '--stdin'], content)
      await repository.git('placing a file', ['update-index', '--add', '--cacheinfo', `100644,${blob},${path}`])
    }
    const tree = await repository.line('writing the tree', ['write-tree'])
    if (tip !== null && tree === (await repository.line('reading the tip', ['rev-parse', `${tip}^{tree}`]))) return tip
    const parents = tip === null ? [] : ['-p', tip]
    return await repository.line('committing', ['commit-tree', tree, ...parents], `${message}\n`)
  }

  /** Answers false when somebody else was faster. */
  async #push(refspec: string): Promise<boolean> {
    const ending = await this.#repository.run(['push', '--quiet', '--', this.#config.remote, refspec])
    if (hasSucceeded(ending)) return true
    if (OVERTAKEN.test(ending.stderr) && !/hook declined|protected branch/i.test(ending.stderr)) return false
    throw this.#repository.failure('pushing', ending)
  }
}

/** A branch at one of its commits. */
export interface BranchSnapshot {
  /** Null: there is no such branch yet. */
  readonly tip: string | null
  /** The content of a file; null when there is no such file. */
  read(path: string): Promise<Buffer | null>
  /** The paths of the files in a folder. */
  list(folder: string): Promise<string[]>
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
