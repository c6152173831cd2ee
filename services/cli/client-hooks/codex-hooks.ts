import { realpathSync } from 'node:fs'
import { objectOf } from '#agents/whole-fields.ts'
import type { CommandContext } from '#console/context.ts'
import { S2Error } from '#fleet/errors.ts'
import { type Ending, howItEnded, runCommand } from '#runtime/run-command.ts'
import { VERSION } from '#runtime/version.ts'
import { isHookCommand } from './hook-commands.ts'

/** A hook as Codex knows it. Codex runs those that are `trusted` or `managed`, and skips the others without a word. */
export interface CodexHook {
  /** Its place: the file, the event, and its numbers there. */
  readonly key: string
  readonly command: string
  readonly path: string
  /** Of its command and settings, `sha256:…`: another one is another hook. */
  readonly hash: string
  readonly trust: 'managed' | 'untrusted' | 'trusted' | 'modified'
  /** False: the person switched it off. */
  readonly isEnabled: boolean
}

/** Codex answers within half a second; a slow disk may need longer for a program of this size. */
const ANSWER_MS = 15_000
const OUTPUT_MAX = 4 * 1024 * 1024
const LIST = 2

/**
 * The hooks of S2 that Codex reads from a file, as Codex itself says (`hooks/list` of `codex app-server`, which asks no network for
 * it). Empty where it reads none there, as in a project that is not trusted. Throws `unavailable` where Codex cannot be asked.
 */
export async function codexHooks(path: string, context: CommandContext): Promise<CodexHook[]> {
  const place = realPath(path)
  const hooks = (await listHooks(context)).flatMap((each) => readHook(each) ?? [])
  return hooks.filter((each) => isHookCommand('codex', each.command) && realPath(each.path) === place)
}

/** Whether Codex runs it. */
export function isTrusted({ trust }: CodexHook): boolean {
  return trust === 'trusted' || trust === 'managed'
}

async function listHooks({ env, folder, clock }: CommandContext): Promise<readonly unknown[]> {
  const ending = await askCodex(folder, env, clock).catch((error: Error) => {
    throw unknown(error.message, error)
  })
  const answer = answerIn(ending.stdout.toString('utf8'))
  if (answer === null) throw unknown(howItEnded(ending), ending.stderr)
  return answer
}

function unknown(why: string, cause: unknown): S2Error {
  const next = 'call /hooks in codex, which shows its hooks and trusts them'
  return new S2Error('unavailable', `codex does not say which hooks it trusts: ${why}`, { next, cause })
}

/** Its server ends when its input does: that is closed once the answer is there. */
async function askCodex(folder: string, env: CommandContext['env'], clock: CommandContext['clock']): Promise<Ending> {
  let said = ''
  let hangUp = (): void => undefined
  return await runCommand(
    {
      argv: ['codex', 'app-server'],
      env,
      cwd: folder,
      timeoutMs: ANSWER_MS,
      outputMax: OUTPUT_MAX,
      beyond: 'end',
      onInput: (input) => {
        hangUp = () => void input.end()
        const clientInfo = { name: 's2', title: 'S2', version: VERSION }
        const asked = [
          { id: 1, method: 'initialize', params: { clientInfo } },
          { method: 'initialized' },
          { id: LIST, method: 'hooks/list', params: { cwds: [folder] } },
        ]
        input.write(asked.map((each) => `${JSON.stringify(each)}\n`).join(''))
      },
      onOutput: (chunk, stream) => {
        if (stream === 'stdout') said += chunk.toString('latin1')
        if (said.endsWith('\n') && answerIn(said) !== null) hangUp()
      },
    },
    clock,
  )
}

/** The list in what it said; null where it is not there yet, empty where Codex refused it. */
function answerIn(said: string): readonly unknown[] | null {
  const line = said.split('\n').find((each) => idOf(each) === LIST)
  if (line === undefined) return null
  const { result } = JSON.parse(line) as { result?: { data?: { hooks?: unknown }[] } }
  const places = Array.isArray(result?.data) ? result.data : []
  return places.flatMap((each) => (Array.isArray(each?.hooks) ? each.hooks : []))
}

function idOf(line: string): unknown {
  try {
    return (JSON.parse(line) as { id?: unknown } | null)?.id
  } catch {
    return undefined
  }
}

const TRUSTS = ['managed', 'untrusted', 'trusted', 'modified'] as const

function readHook(said: unknown): CodexHook | null {
  const { key, command, sourcePath, currentHash, trustStatus, enabled } = objectOf(said)
  const trust = TRUSTS.find((each) => each === trustStatus)
  const isText = [key, command, sourcePath].every((each) => typeof each === 'string' && !/\p{Cc}/u.test(each))
  const isHash = typeof currentHash === 'string' && /^sha256:[0-9a-f]{64}$/.test(currentHash)
  if (!isText || !isHash || trust === undefined) return null
  return {
    key: key as string,
    command: command as string,
    path: sourcePath as string,
    hash: currentHash,
    trust,
    isEnabled: enabled !== false,
  }
}

/** Without links on the way; as it is where nothing is there. */
export function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}
