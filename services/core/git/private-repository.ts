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

/** Kilobytes of the largest file that git may write here, which bounds a hostile pack. */
const FILE_MAX_KB = 65_536
/** Kilobytes of memory that each of its processes may take: a delta of some bytes can stand for gigabytes. */
const MEMORY_MAX_KB = 262_144
/** Kilobytes of the stack of a thread: on a machine of many processors a local remote packs with as many threads. */
const STACK_MAX_KB = 2_048
/** Seconds of a processor that each of them may take: a pack of a few kilobytes can keep one busy for hours. */
const CPU_MAX_S = 10
/** Bytes that the repository may take, and files; a larger one is made anew, which fetches only the tip again. */
const FOLDER_MAX = 192 * 1024 * 1024
const FILES_MAX = 2_000
const ANSWER_MAX = 1_048_576
/** The bounds, in words. */
const CAPS = `a pack of ${FILE_MAX_KB / 1024} MB, ${MEMORY_MAX_KB / 1024} MB of memory, ${CPU_MAX_S} s of computing, ${ANSWER_MAX / 1_048_576} MB of an answer`
const TOO_MUCH = gitAdviceFor('too_large', 'read')
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

  /** The commit of a ref of the remote; null where there is none. Names are compared whole. Throws `unavailable`, or `too_large`. */
  async ref(name: string): Promise<string | null> {
    const { refs, isCut } = await this.#refs(name)
    const object = refs.find((each) => each.name === name)?.object ?? null
    if (object === null && isCut)
      throw new S2Error('too_large', `the remote has more refs named ${name} than S2 takes`, { next: TOO_MUCH })
    return object
  }

  /** The refs of a folder of the remote that ends with a slash; of very many only some. Throws `unavailable`. */
  async refsIn(folder: string): Promise<ReadonlyMap<string, string>> {
    const { refs } = await this.#refs(`${folder}*`)
    const own = refs.filter(({ name }) => name.startsWith(folder) && !name.slice(folder.length).includes('/'))
    return new Map(own.map(({ name, object }) => [name, object]))
  }

  async #refs(pattern: string) {
    const args = ['ls-remote', '--refs', '--', this.remote, pattern]
    const { records, isCut } = await this.listing('asking the remote', args, { place: 'nowhere' })
    const refs = records.map((record) => {
      const [object = '', name = ''] = record.split('\t')
      return { object, name }
    })
    return { refs: refs.filter(({ object }) => OBJECT_ID.test(object)), isCut }
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
  async line(doing: string, args: readonly string[], input: string | Uint8Array = ''): Promise<string> {
    return (await this.git(doing, args, { input })).toString('utf8').trim()
  }

  /** What git lists, each record ended by NUL or by the end of its line. Of a list that is too long only a part comes. Bytes are read as Latin-1. */
  async listing(doing: string, args: readonly string[], call: GitCall = {}): Promise<Listing> {
    const ending = await this.run(args, call)
    const isCut = ending.ended === 'output'
    if (!isCut && !hasSucceeded(ending)) throw this.failure(doing, ending)
    const records = ending.stdout.toString('latin1').split(args.includes('-z') ? '\0' : '\n')
    return { records: records.slice(isCut ? 1 : 0, -1), isCut }
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
    const where = { GIT_DIR: place === 'repository' ? folder : '/dev/null' }
    // ulimit counts files in blocks of 512 bytes. sh(1)
    const limits = `ulimit -c 0; ulimit -f ${FILE_MAX_KB * 2}; ulimit -v ${MEMORY_MAX_KB}; ulimit -s ${STACK_MAX_KB}; ulimit -S -t ${CPU_MAX_S}; exec git "$@"`
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
    const said = redact(gitMessagesOf(ending).join('; '))
    if (fault === 'too_large' || fault === 'malformed') {
      const why = fault === 'too_large' ? `the remote holds more than S2 takes (${CAPS}): ${said}` : said
      const code = fault === 'too_large' ? 'too_large' : 'invalid'
      return new S2Error(code, `git failed ${doing}: ${why}`, { next: gitAdviceFor(fault, this.#config.right) })
    }
    const passes = fault === 'other' || fault === 'timeout'
    const next =
      passes && this.#config.right === 'read'
        ? 'it is tried again; the credentials in force stay'
        : gitAdviceFor(fault, this.#config.right)
    return new S2Error('unavailable', `git failed ${doing}: ${said}`, { next })
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
    await rm(join(folder, 'objects/info'), { recursive: true, force: true })
    // What a fetch had written that was ended; git clears it up only after two weeks, and nobody else fetches here.
    for (const place of ['objects', 'objects/pack']) {
      for (const name of await readdir(join(folder, place)))
        if (name.startsWith('tmp_')) await rm(join(folder, place, name), { recursive: true, force: true })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#config.folder, { recursive: true, force: true })
  }

  async #isUsable(format: 'sha1' | 'sha256'): Promise<boolean> {
    const { folder } = this.#config
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
    if (!entries.some(({ name }) => name === 'HEAD')) return false
    if (entries.some((each) => !each.isFile() && !each.isDirectory()) || entries.length > FILES_MAX) return false
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

interface Listing {
  readonly records: readonly string[]
  readonly isCut: boolean
}

interface GitCall {
  readonly input?: string | Uint8Array
  /** `nowhere`: the command needs no repository. `init`: it makes one. */
  readonly place?: 'repository' | 'nowhere' | 'init'
}

/** What a bare repository consists of; everything else in its folder is not ours. */
const KEPT = new Set(['HEAD', 'config', 'objects', 'refs', 'packed-refs', 'shallow'])

function configOf(format: 'sha1' | 'sha256'): string {
  const core = `[core]\n\trepositoryformatversion = ${format === 'sha256' ? 1 : 0}\n\tfilemode = true\n\tbare = true\n`
  return format === 'sha256' ? `${core}[extensions]\n\tobjectformat = sha256\n` : core
}
