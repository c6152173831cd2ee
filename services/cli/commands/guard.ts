import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { plain } from '#console/terminal-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { GUARD_MODES } from '#fleet/guard-rules.ts'
import { parseSession, type SessionId, sessionId } from '#fleet/session-id.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { readCredentials } from '#spool/credentials.ts'
import {
  CODE_MS,
  type CommandGrant,
  demandGrant,
  endGrant,
  GRANT_MODES,
  type Grant,
  type GrantMode,
  guardFolder,
  liveGrant,
  openGrant,
  redeemCode,
  TOKEN_MAX_MS,
} from '../guard/grant.ts'
import { recordAct } from '../guard/journal.ts'
import { type GuardedPlan, planCommand, runPlanned, tellPartner } from '../guard/run-guarded.ts'
import { findSandbox } from '../guard/sandbox.ts'

const EXAMPLES = `
Examples:
  s2 guard enable --mode restricted                  a person, at a terminal: prints a one-time code
  export GUARD_TOKEN="$(s2 guard redeem)"            the agent: reads the code from standard input
  s2 guard run -- git status --short                 runs it, and tells both sessions how it ended
  s2 guard run --dry-run --mode safe -- cat x        explains what would be run, and runs nothing

Off unless S2_GUARD=on. A code is good for 2 minutes and once, a token for 5 minutes at most. Modes: safe (reads the work
folder, S2_GUARD_FOLDER), restricted (also git, npm and pip, with validated arguments), open (any program, no shell); answer
runs nothing, and lets whoever has the code answer a permission prompt from afar (\`s2 answer\`).
What a folder can configure to run programs, and all of open mode, runs in a sandbox (bubblewrap or systemd-run) or not at all.`

interface Options {
  readonly mode?: string
  readonly minutes?: number
  readonly session?: string
  readonly dryRun?: true
  readonly json?: true
}

interface Host {
  readonly state: string
  readonly isOn: boolean
  readonly folder: string
}

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('enable')
    .description('let the agent of this host run commands for some minutes; asks a person')
    .option('--mode <mode>', `what is allowed: ${GRANT_MODES.join(', ')}`, 'safe')
    .option('--minutes <n>', 'how long, 5 at most', minutes, 5)
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => await enable(context, options))
  command
    .command('redeem')
    .description('trade the one-time code on standard input for a token')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => await redeem(context, options))
  command
    .command('run')
    .description('run one command, with the token in GUARD_TOKEN')
    .argument('<words...>', 'the program and its arguments, behind --')
    .option('--dry-run', 'explain, and run nothing')
    .option('--mode <mode>', 'with --dry-run: the mode to explain')
    .option('--session <session>', 'the session that speaks, where this host has several')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (words: string[], options: Options) => {
      if (options.dryRun === true) await explain(context, words, options)
      else await run(context, words, options)
    })
  command
    .command('status')
    .description('show what is allowed now')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => await status(context, options))
  command
    .command('disable')
    .description('end what is allowed')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => await disable(context, options))
}

async function enable(context: CommandContext, options: Options): Promise<void> {
  const mode = readMode(options.mode ?? 'safe', GRANT_MODES)
  const host = demandOn(readHost(context))
  if (!context.isAttended)
    throw new S2Error('forbidden', 'guarded commands are allowed by a person at a terminal, and there is none', {
      next: 'type `s2 guard enable` at a terminal of this host',
    })
  if (mode === 'open' && (await findSandbox(host.folder, context.clock)) === null)
    throw new S2Error('forbidden', 'open mode runs programs in a sandbox, and this host has none that works', {
      next: 'install bubblewrap, or use --mode restricted',
    })
  const { phrase, means, forWhom } = wordsOf(mode, host.folder)
  context.tell(`${means}, for ${options.minutes} min.\n`)
  const typed = await context.ask(`To allow it, type: ${phrase}\n> `)
  const details = { mode, folder: host.folder }
  if (typed?.trim() !== phrase) {
    await recordAct(host.state, { action: 'declined', details }, context.clock.wall())
    throw new S2Error('forbidden', 'that is not what was asked for: nothing is allowed', {
      next: 'run it again to allow it',
    })
  }
  await recordAct(host.state, { action: 'enabled', details }, context.clock.wall())
  const wanted = { mode, folder: host.folder, tokenMs: (options.minutes ?? 5) * 60_000 }
  const code = await openGrant(host.state, wanted, context.clock.wall())
  if (options.json === true) context.print(`${JSON.stringify({ code, mode, folder: host.folder })}\n`)
  else context.print(`${code}\n`)
  context.tell(`This code is good once, for ${CODE_MS / 60_000} minutes: ${forWhom}.\n`)
}

function wordsOf(mode: GrantMode, folder: string): Readonly<Record<'phrase' | 'means' | 'forWhom', string>> {
  if (mode === 'answer')
    return {
      phrase: 'answer permission prompts',
      means: 'Whoever has the code may then answer permission prompts of this host from afar',
      forWhom: 'give it to whoever answers, for `s2 answer`',
    }
  return {
    phrase: `run commands in ${mode} mode`,
    means: `The agent of this host may then run commands in ${folder}, in ${mode} mode`,
    forWhom: 'give it to the agent, for `s2 guard redeem`',
  }
}

async function redeem(context: CommandContext, { json }: Options): Promise<void> {
  const { state } = demandOn(readHost(context))
  const code = context.isAttended ? ((await context.ask('code: ')) ?? '') : await context.input(200)
  const now = context.clock.wall()
  try {
    const { token, grant } = await redeemCode(state, code, now)
    await recordAct(state, { action: 'redeemed', details: { mode: grant.mode } }, now)
    context.print(json === true ? `${JSON.stringify({ token, ...shownOf(grant, now) })}\n` : `${token}\n`)
  } catch (error) {
    await recordAct(state, { action: 'refused', details: { why: (error as Error).message } }, now)
    throw error
  }
}

async function run(context: CommandContext, words: readonly string[], options: Options): Promise<void> {
  const { state } = demandOn(readHost(context))
  if (options.mode !== undefined)
    throw new UsageError('--mode goes with --dry-run', 'the mode is the one that was enabled')
  if (isRoot()) throw new S2Error('forbidden', NOT_AS_ROOT.why, { next: NOT_AS_ROOT.next })
  const session = await speakerOf(state, options.session)
  const grant = await granted(context, state, words)
  const plan = await planCommand(grant.mode, grant.folder, words, context)
  const result = await runPlanned(state, plan, grant, words, context)
  await tellPartner(state, session, result)
  if (options.json === true) context.print(`${JSON.stringify(result)}\n`)
  else {
    context.print(plain(result.output))
    context.tell(`s2: ended: ${result.how}; ${session} has told the other end\n`)
  }
  if (result.exitCode !== 0) throw new Exit(EXIT.failed)
}

/** The grant of the token in the environment; a refusal is written down. */
async function granted(context: CommandContext, state: string, words: readonly string[]): Promise<CommandGrant> {
  const now = context.clock.wall()
  try {
    return await demandGrant(state, context.env.GUARD_TOKEN, now)
  } catch (error) {
    await recordAct(state, { action: 'refused', details: { command: words, why: (error as Error).message } }, now)
    throw error
  }
}

/** Both ends see a result, so there must be two: the session of this host that speaks. */
async function speakerOf(state: string, named: string | undefined): Promise<SessionId> {
  const { credentials } = await readCredentials(state)
  const own = credentials.map(({ session }) => session)
  if (named !== undefined) {
    const { conversation, side } = parseSession(named)
    const session = sessionId(conversation, side)
    if (own.includes(session)) return session
    throw new S2Error('forbidden', `this host has no credential of ${session}`, {
      next: `use one of ${own.join(', ')}`,
    })
  }
  const [only, ...others] = own
  if (only === undefined)
    throw new S2Error('unauthenticated', 'no session of this host could tell the other end what was run', {
      next: 'wait for s2-cred-sync to bring a credential, or set S2_STATE to the folder that has it',
    })
  if (others.length > 0) throw new UsageError(`this host has ${own.length} sessions`, `name one: --session ${only}`)
  return only
}

const NOT_AS_ROOT = {
  allowed: false,
  why: 'guarded commands are not run as root',
  next: 'run this as the user of the agent',
} as const

function isRoot(): boolean {
  return process.getuid?.() === 0
}

async function explain(context: CommandContext, words: readonly string[], { mode, json }: Options): Promise<void> {
  const host = readHost(context)
  const grant = await liveGrant(host.state, context.clock.wall())
  const granted = grant?.mode === 'answer' ? undefined : grant?.mode
  const chosen = readMode(mode ?? granted ?? 'safe', GUARD_MODES)
  const folder = grant?.folder ?? host.folder
  const plan: GuardedPlan = isRoot()
    ? { mode: chosen, folder, judged: NOT_AS_ROOT, sandbox: null, argv: null }
    : await planCommand(chosen, folder, words, context)
  const allowedNow = plan.argv !== null && host.isOn && grant?.stage === 'token' && grant.mode === chosen
  if (json === true) context.print(`${JSON.stringify({ ...plan, allowedNow })}\n`)
  else context.print(explained(plan, host.isOn, allowedNow))
  if (plan.argv === null) throw new Exit(EXIT.failed)
}

function explained({ mode, folder, judged, sandbox, argv }: GuardedPlan, isOn: boolean, allowedNow: boolean): string {
  if (!judged.allowed || argv === null)
    return plain(judged.allowed ? 'not run\n' : `refused: ${judged.why}\n  next: ${judged.next}\n`)
  const rights = `${judged.writes ? 'may write there' : 'may only read'}, ${judged.network ? 'with' : 'without'} network`
  const now = allowedNow
    ? 'a token is in force'
    : isOn
      ? 'no token is in force: see s2 guard enable'
      : 'S2_GUARD is off'
  return plain(
    `allowed in ${mode} mode (${now})\n  in ${folder}: ${rights}\n  sandbox: ${sandbox?.kind ?? 'none'}\n  runs: ${JSON.stringify(judged.argv)}\n`,
  )
}

async function status(context: CommandContext, { json }: Options): Promise<void> {
  const { state, isOn, folder } = readHost(context)
  const now = context.clock.wall()
  const grant = isOn ? await liveGrant(state, now) : null
  const shown = { on: isOn, folder, grant: grant === null ? null : shownOf(grant, now) }
  if (json === true) context.print(`${JSON.stringify(shown)}\n`)
  else if (!isOn) context.print('off: S2_GUARD is not on\n')
  else if (grant === null) context.print('on, and nothing is allowed now: a person allows it by s2 guard enable\n')
  else
    context.print(
      `on: ${grant.mode === 'answer' ? 'answers from afar' : `${grant.mode} mode in ${plain(grant.folder)}`}, ${grant.stage === 'code' ? 'the code waits' : 'the token is good'} for ${Math.ceil((grant.until - now) / 1000)}s\n`,
    )
}

function shownOf({ stage, mode, folder, until }: Grant, now: number): object {
  return { stage, mode, folder, leftMs: until - now }
}

async function disable(context: CommandContext, { json }: Options): Promise<void> {
  const { state } = readHost(context)
  const was = await endGrant(state)
  if (was) await recordAct(state, { action: 'disabled', details: {} }, context.clock.wall())
  if (json === true) context.print(`${JSON.stringify({ disabled: was })}\n`)
  else context.print(was ? 'nothing is allowed any more\n' : 'nothing was allowed\n')
}

function readHost(context: CommandContext): Host {
  const settings = readSettings(commandEnv(context), ['S2_STATE', 'S2_GUARD', 'S2_GUARD_FOLDER'])
  const folder = settings.S2_GUARD_FOLDER ?? join(guardFolder(settings.S2_STATE), 'work')
  return { state: settings.S2_STATE, isOn: settings.S2_GUARD === 'on', folder }
}

/** Stage 1: the host says so. The work folder has one name from then on. */
function demandOn(host: Host): Host {
  if (!host.isOn)
    throw new S2Error('forbidden', 'guarded commands are off on this host', {
      next: 'whoever owns the host sets S2_GUARD=on in its settings, after reading SECURITY.md',
    })
  mkdirSync(host.folder, { recursive: true, mode: 0o700 })
  return { ...host, folder: realpathSync(host.folder) }
}

function readMode<T extends GrantMode>(word: string, modes: readonly T[]): T {
  const mode = modes.find((each) => each === word)
  if (mode === undefined)
    throw new UsageError(`there is no mode ${JSON.stringify(word)}`, `use one of ${modes.join(', ')}`)
  return mode
}

function minutes(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value * 60_000 > TOKEN_MAX_MS)
    throw new UsageError(
      `--minutes ${JSON.stringify(text)} is not from 1 to 5`,
      'a token is good for 5 minutes at most',
    )
  return value
}
