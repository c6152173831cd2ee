import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Env } from '#runtime/read-settings.ts'
import { type Ending, hasSucceeded, runCommand } from '#runtime/run-command.ts'
import { publish } from '#spool/atomic-files.ts'
import { readPlainFile } from '#spool/plain-file.ts'
import { GIT_SETTINGS, gitEnv } from './git-environment.ts'
import { gitAdviceFor, gitFaultOf, gitMessagesOf, type Right } from './git-errors.ts'

export interface PrivateRepositoryConfig {
  /** A bare repository of our own, made when missing and made again when broken: it holds nothing that the remote has not. */
  readonly folder: string
  readonly remote: string
  readonly branch: string
  /** Bound of one git command. */
  readonly timeoutMs: number
  /** What git needs there, for advice when it is refused. */
  readonly right: Right
}

export interface GitParts {
  readonly clock: Clock
  /** Where git and ssh find their home: PATH, HOME, SSH_AUTH_SOCK and the like are taken from it, nothing else. */
  readonly env: Env
  readonly signal?: AbortSignal
}

/** Kilobytes of the largest file that git may write here, which bounds a hostile pack; and of the memory that it may take. */
const FILE_MAX_KB = 65_536
const MEMORY_MAX_KB = 1_048_576
/** Bytes that the repository may take; a larger one is made anew, which fetches only the tip again. */
const FOLDER_MAX = 192 * 1024 * 1024
const ANSWER_MAX = 1_048_576
export const OBJECT_ID = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/

/**
 * A git repository that nobody else shall touch: its configuration is written anew before each use, whatever lies there, and
 * every command has bounds on its time, memory, output and files, and ends with all its children.
 */
export class PrivateRepository {
  readonly #config: PrivateRepositoryConfig
  readonly #parts: GitParts

  constructor(config: PrivateRepositoryConfig, parts: GitParts) {
    this.#config = config
    this.#parts = parts
  }

  /** The full name of the branch. */
  get branch(): string {
    return `refs/heads/${this.#config.branch}`
  }

  get remote(): string {
    return this.#config.remote
  }

  /** The refs of the remote with this name, or below it when it ends with `/*`. Names are compared whole. Throws `unavailable`. */
  async refs(pattern: string): Promise<ReadonlyMap<string, string>> {
    const answer = await this.git('asking the remote', ['ls-remote', '--refs', '--', this.remote, pattern], {
      place: 'nowhere',
    })
    const found = new Map<string, string>()
    const isWanted = pattern.endsWith('/*')
      ? (name: string) => name.startsWith(pattern.slice(0, -1)) && !name.slice(pattern.length - 1).includes('/')
      : (name: string) => name === pattern
    for (const line of answer.toString('utf8').split('\n')) {
      const [object = '', name = ''] = line.split('\t')
      if (isWanted(name) && OBJECT_ID.test(object)) found.set(name, object)
    }
    return found
  }

  /** Fetches one commit of each ref, whatever its history, under a name of ours. Throws `unavailable`. */
  async fetch(refspecs: readonly string[], objectExample: string): Promise<void> {
    await this.prepare(objectExample.length === 64 ? 'sha256' : 'sha1')
    const options = [
      '--depth=1',
      '--no-tags',
      '--no-recurse-submodules',
      '--no-auto-maintenance',
      '--no-write-fetch-head',
      '--force',
    ]
    await this.git('fetching', ['fetch', '--quiet', ...options, '--', this.remote, ...refspecs])
  }

  /** A line that git prints. */
  async line(doing: string, args: readonly string[], input = ''): Promise<string> {
    return (await this.git(doing, args, { input })).toString('utf8').trim()
  }

  async git(
    doing: string,
    args: readonly string[],
    { input = '', place = 'repository' }: GitCall = {},
  ): Promise<Buffer> {
    const ending = await this.run(args, { input, place })
    if (hasSucceeded(ending)) return ending.stdout
    throw this.failure(doing, ending)
  }

  async run(args: readonly string[], { input = '', place = 'repository' }: GitCall = {}): Promise<Ending> {
    const { clock, env, signal } = this.#parts
    const { folder, timeoutMs } = this.#config
    const where =
      place === 'repository' ? { GIT_DIR: folder, GIT_INDEX_FILE: join(folder, 'index') } : { GIT_DIR: '/dev/null' }
    const limits = `ulimit -c 0; ulimit -f ${FILE_MAX_KB * 2}; ulimit -v ${MEMORY_MAX_KB}; exec git "$@"`
    try {
      return await runCommand(
        {
          argv: ['/bin/sh', '-c', limits, 'git', ...GIT_SETTINGS.flatMap((each) => ['-c', each]), ...args],
          input,
          env: { ...gitEnv(env), ...(place === 'init' ? {} : where) },
          cwd: '/',
          timeoutMs,
          outputMax: ANSWER_MAX,
          beyond: 'end',
        },
        clock,
        signal,
      )
    } catch (cause) {
      throw new S2Error('unavailable', 'git cannot be started', { next: 'install git', cause })
    }
  }

  /** What a failed command means, as an error for people. */
  failure(doing: string, ending: Ending): S2Error {
    const fault = gitFaultOf(ending)
    const passes = fault === 'other' || fault === 'timeout'
    const next =
      passes && this.#config.right === 'read'
        ? 'it is tried again; the credentials in force stay'
        : gitAdviceFor(fault, this.#config.right)
    const why =
      ending.signal === 'SIGXFSZ'
        ? `the remote sent more than ${FILE_MAX_KB / 1024} MB`
        : redact(gitMessagesOf(ending).join('; '))
    return new S2Error('unavailable', `git failed ${doing}: ${why}`, { next })
  }

  /** Makes the repository where it is missing, broken, too large or of the other hash; in any case no configuration but ours is in force. */
  async prepare(format: 'sha1' | 'sha256'): Promise<void> {
    const { folder } = this.#config
    if (!(await this.#isUsable(format))) {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const args = ['init', '--quiet', '--bare', '--template=', `--object-format=${format}`, '--', folder]
      await this.git('making a repository', args, { place: 'init' })
      await publish(join(folder, 'config'), configOf(format))
    }
    // Other files can lead git to other folders and programs. gitrepository-layout(5)
    for (const name of await readdir(folder)) {
      if (!KEPT.has(name)) await rm(join(folder, name), { recursive: true, force: true })
    }
    for (const path of ['objects/info', 'objects/pack/.tmp'])
      await rm(join(folder, path), { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#config.folder, { recursive: true, force: true })
  }

  async #isUsable(format: 'sha1' | 'sha256'): Promise<boolean> {
    const { folder } = this.#config
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
    if (!entries.some(({ name }) => name === 'HEAD')) return false
    if (entries.some((each) => !each.isFile() && !each.isDirectory()) || entries.length > 100_000) return false
    // A prepared configuration can name programs that git runs: nothing is asked of git under any but ours.
    const config = await readPlainFile(join(folder, 'config'), 10_000).catch(() => null)
    if (config?.text !== configOf(format)) return false
    const known = await this.run(['rev-parse', '--is-bare-repository'])
    if (!hasSucceeded(known) || known.stdout.toString('utf8').trim() !== 'true') return false
    return (await this.#packSizes()) <= FOLDER_MAX
  }

  async #packSizes(): Promise<number> {
    const { stdout } = await this.run(['count-objects', '-v'])
    const packed = /^size-pack: (\d+)$/m.exec(stdout.toString('utf8'))?.[1] ?? '0'
    const loose = /^size: (\d+)$/m.exec(stdout.toString('utf8'))?.[1] ?? '0'
    return (Number(packed) + Number(loose)) * 1024
  }
}

interface GitCall {
  readonly input?: string
  /** `nowhere`: the command needs no repository. `init`: it makes one. */
  readonly place?: 'repository' | 'nowhere' | 'init'
}

/** What a bare repository consists of; everything else in its folder is not ours. */
const KEPT = new Set(['HEAD', 'config', 'objects', 'refs', 'packed-refs', 'shallow'])

function configOf(format: 'sha1' | 'sha256'): string {
  const core = `[core]\n\trepositoryformatversion = ${format === 'sha256' ? 1 : 0}\n\tfilemode = true\n\tbare = true\n`
  return format === 'sha256' ? `${core}[extensions]\n\tobjectformat = sha256\n` : core
}
