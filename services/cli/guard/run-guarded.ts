import { realpathSync } from 'node:fs'
import { resolve, sep } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { textTail } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { type AllowedCommand, type GuardMode, judgeCommand, type RefusedCommand } from '#fleet/guard-rules.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type Clock, elapsedMs, momentOf } from '#runtime/clock.ts'
import { type Ending, howItEnded, runCommand } from '#runtime/run-command.ts'
import { Outbox } from '#spool/outbox.ts'
import type { Grant } from './grant.ts'
import { recordAct } from './journal.ts'
import {
  findProgram,
  findSandbox,
  guardedEnv,
  LIMITS,
  limited,
  managerEnv,
  type Sandbox,
  sandboxed,
} from './sandbox.ts'

/** How a command would be run, or why it is not. */
export interface GuardedPlan {
  readonly mode: GuardMode
  readonly folder: string
  readonly judged: AllowedCommand | RefusedCommand
  readonly sandbox: Sandbox | null
  /** The whole line that would be run. */
  readonly argv: readonly [string, ...string[]] | null
}

/** What both sessions are told. */
export interface GuardedResult {
  readonly command: readonly string[]
  readonly mode: GuardMode
  readonly exitCode: number | null
  readonly how: string
  readonly output: string
}

/** Decides how a command runs, and runs nothing but a try of the sandbox. */
export async function planCommand(
  mode: GuardMode,
  folder: string,
  words: readonly string[],
  context: CommandContext,
): Promise<GuardedPlan> {
  const judged = judgeCommand(mode, words)
  if (!judged.allowed) return { mode, folder, judged, sandbox: null, argv: null }
  const outside = judged.paths.find((path) => leadsOut(folder, path))
  if (outside !== undefined)
    return refused(mode, folder, `${JSON.stringify(outside)} leads out of the work folder`, 'name another file')
  const sandbox = await findSandbox(folder, context.clock)
  if (sandbox !== null) {
    const inner = { ...judged, argv: limited(judged.argv) }
    return { mode, folder, judged, sandbox, argv: sandboxed(sandbox, inner, folder) }
  }
  if (judged.needsSandbox)
    return refused(
      mode,
      folder,
      `${mode} mode runs ${judged.argv[0]} in a sandbox, and this host has none that works`,
      'install bubblewrap, or run this under a user with a service manager (systemd-run --user)',
    )
  const [program, ...args] = judged.argv
  const path = findProgram(program)
  if (path === null) return refused(mode, folder, `${program} is not installed`, 'use another program')
  return { mode, folder, judged, sandbox, argv: limited([path, ...args]) }
}

function refused(mode: GuardMode, folder: string, why: string, next: string): GuardedPlan {
  return { mode, folder, judged: { allowed: false, why, next }, sandbox: null, argv: null }
}

/** Whether a path of the work folder leads out of it by links. What does not exist leads nowhere. */
function leadsOut(folder: string, path: string): boolean {
  try {
    const real = realpathSync(resolve(folder, path))
    const root = realpathSync(folder)
    return real !== root && !real.startsWith(root + sep)
  } catch {
    return false
  }
}

/** Runs what was allowed, within the limits and no longer than the token is good for; written down before and after. */
export async function runPlanned(
  state: string,
  plan: GuardedPlan,
  grant: Grant,
  words: readonly string[],
  context: CommandContext,
): Promise<GuardedResult> {
  const { clock } = context
  const about = { command: words, mode: plan.mode, sandbox: plan.sandbox?.kind ?? 'none', folder: plan.folder }
  if (plan.argv === null || !plan.judged.allowed) {
    const why = plan.judged.allowed ? 'it cannot be run' : plan.judged.why
    await recordAct(state, { action: 'refused', details: { ...about, why } }, clock.wall())
    const next = plan.judged.allowed ? undefined : plan.judged.next
    throw new S2Error('forbidden', `the command is refused: ${why}`, next === undefined ? {} : { next })
  }
  await recordAct(state, { action: 'started', details: about }, clock.wall())
  const ending = await runCommand(
    {
      argv: plan.argv,
      env: plan.sandbox?.kind === 'systemd-run' ? managerEnv(process.getuid?.() ?? 0) : guardedEnv('/nonexistent'),
      cwd: plan.folder,
      timeoutMs: Math.max(1, Math.min(LIMITS.timeoutMs, grant.until - clock.wall())),
      outputMax: LIMITS.outputBytes,
      beyond: 'keep_tail',
    },
    countingSuspends(clock),
  )
  const result = resultOf(words, plan.mode, ending)
  await recordAct(state, { action: 'ended', details: { ...about, how: result.how } }, clock.wall())
  return result
}

/** How often a wait looks whether the machine has slept. */
const LOOK_MS = 1_000

/** The same clock, whose waits count the time that the machine sleeps. */
function countingSuspends(clock: Clock): Clock {
  return {
    now: () => clock.now(),
    wall: () => clock.wall(),
    sleep: async (ms, signal) => {
      const since = momentOf(clock)
      for (let leftMs = ms; leftMs > 0; leftMs = ms - elapsedMs(since, clock)) {
        await clock.sleep(Math.min(leftMs, LOOK_MS), signal)
      }
    },
  }
}

function resultOf(command: readonly string[], mode: GuardMode, ending: Ending): GuardedResult {
  const output = `${new TextDecoder().decode(ending.stdout)}${ending.stderr}`
  return { command, mode, exitCode: ending.ended === null ? ending.code : null, how: howItEnded(ending), output }
}

/** Characters of output that the other session is sent. */
const SENT_MAX = 20_000

/** Tells the session at the other end, durably: this end has the result as the answer of the command. */
export async function tellPartner(state: string, from: SessionId, result: GuardedResult): Promise<void> {
  const { command, mode, how, output } = result
  const kept = output.length <= SENT_MAX ? output : `[…]\n${textTail(output, SENT_MAX)}`
  const text = `guarded command (${mode}): ${JSON.stringify(command)}\nended: ${how}\n\n${kept}`
  await new Outbox(state).put({ kind: 'send', from, draft: { text, action: 'guarded_command' } })
}
