import { type Chance, type Clock, systemChance, systemClock } from './clock.ts'
import { Health, serveHealth } from './health.ts'
import { healthSocket } from './health-client.ts'
import { priorityMarkFor } from './journal-priority.ts'
import { type Level, type Log, openLog, type Redact } from './log.ts'
import { keepFolderPrivate } from './private-folder.ts'
import { type DescribedProgram, programHelp } from './program-help.ts'
import { ProgressMonitor, ROUND_MS } from './progress-monitor.ts'
import { ConfigError, type Env, MissingSetting } from './read-settings.ts'
import type { Address } from './setting-parsers.ts'
import { openNotify } from './systemd-notify.ts'
import { VERSION } from './version.ts'

/** The part of a program's configuration that `run` itself reads. */
export interface LifeConfig {
  readonly state: string
  readonly logLevel: Level
  readonly health: Address | undefined
  readonly drainMs: number
}

/** What `run` gives a program. */
export interface Life {
  readonly clock: Clock
  readonly chance: Chance
  /** The environment for commands that it runs; settings come from the configuration. */
  readonly env: Env
  readonly log: Log
  readonly health: Health
  /** Aborts when the program has to drain: take no new work, finish the present work. */
  readonly draining: AbortSignal
  /** Holds the release of everything acquired; shutdown releases in reverse order. */
  readonly stack: AsyncDisposableStack
  /** Reports a finished round of work: feeds the service manager's watchdog. */
  round(status?: string): void
  /** Extends the start timeout of the service manager for a slow step, milliseconds. */
  takesLong(what: string, atMostMs: number): void
  /** Ends the program with exit code 1, to be started again, because it can no longer work correctly. */
  fail(error: Error): void
}

export interface Program<C extends LifeConfig> {
  readonly name: string
  /** What it does, in a sentence or two, for `--help`. */
  readonly about: string
  readonly redact: Redact
  readConfig(env: Env): C
  /** The longest round with the wait before it, milliseconds; default 30 s. Past it the program is stuck. */
  roundMs?(config: C): number
  /** Resolves when the program can do its work. The stack must release all that it acquires. */
  start(config: C, life: Life): Promise<void>
}

/** How much longer the service manager waits than the drain's deadline, so that it never cuts a drain short. */
const STOPPING_MS = 5_000

/** Exit codes, sysexits(3). */
const EXIT = { done: 0, failed: 1, usage: 64, config: 78 } as const

const STOPS =
  'TERM, INT or HUP stop it: it takes no new work, finishes its present work within S2_DRAIN, and ends with 0.'

/**
 * Runs a program from init to stopped. Sets the exit code and lets the event loop empty. A service has settings and no
 * arguments: `--help`, `--version` and `--check` are answered, and anything else is refused with exit code 64.
 */
export async function run<C extends LifeConfig>(
  program: Program<C>,
  env: Env = process.env,
  args: readonly string[] = process.argv.slice(2),
): Promise<void> {
  const isCheck = args.length === 1 && args[0] === '--check'
  if (args.length > 0 && !isCheck) return answerArguments(program, args, env)
  process.title = `s2-${program.name}`
  let config: C
  try {
    config = program.readConfig(env)
  } catch (error) {
    if (isCheck && error instanceof MissingSetting) return
    printError(`s2-${program.name}: ${error instanceof ConfigError ? error.message : String(error)}`, env)
    process.exitCode = EXIT.config
    return
  }
  if (isCheck) return
  const log = openLog(program.name, config.logLevel, program.redact, env)
  process.exitCode = await live(program, config, env, log)
  await log.end()
}

function answerArguments(
  { name, about }: Pick<DescribedProgram, 'name' | 'about'>,
  args: readonly string[],
  env: Env,
): void {
  const unknown = args.find((each) => !['--help', '-h', '--version', '-V'].includes(each))
  if (unknown !== undefined) {
    printError(
      `s2-${name}: it takes no argument ${JSON.stringify(unknown)}\n  next: its settings come from the environment; --help lists them`,
      env,
    )
    process.exitCode = EXIT.usage
  } else if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(programHelp({ name, about, stops: STOPS }))
  } else {
    process.stdout.write(`${VERSION}\n`)
  }
}

async function live<C extends LifeConfig>(program: Program<C>, config: C, env: Env, log: Log): Promise<number> {
  const stop = Promise.withResolvers<{ why: string; error?: Error }>()
  const draining = new AbortController()
  const progress = new ProgressMonitor(program.roundMs?.(config) ?? ROUND_MS, systemClock)
  const health = new Health(() => progress.isStuck, program.redact)
  const notify = await openNotify(env, { clock: systemClock, log })
  const fail = (error: Error): void => stop.resolve({ why: 'failed', error })
  const onSignal = (signal: NodeJS.Signals): void => stop.resolve({ why: signal })
  const onFault = (error: unknown): void => fail(error instanceof Error ? error : new Error(String(error)))
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  process.on('uncaughtException', onFault)
  process.on('unhandledRejection', onFault)

  let outcome: { why: string; error?: Error }
  const stack = new AsyncDisposableStack()
  try {
    const mended = keepFolderPrivate(config.state)
    if (mended !== null) log.warn('state folder closed', { why: mended })
    stack.use(await serveHealth(health, config.health ?? { path: healthSocket(config.state, program.name) }))
    await program.start(config, {
      clock: systemClock,
      chance: systemChance,
      env,
      log,
      health,
      draining: draining.signal,
      stack,
      fail,
      round: (status) => {
        progress.beat()
        if (status !== undefined) health.status(status)
        notify.say('WATCHDOG=1', ...(status === undefined ? [] : [`STATUS=${status}`]))
      },
      takesLong: (what, atMostMs) => {
        health.status(what)
        notify.say(`EXTEND_TIMEOUT_USEC=${Math.ceil(atMostMs * 1000)}`, `STATUS=${what}`)
      },
    })
    progress.beat()
    health.enter('ready')
    notify.say('READY=1')
    if (program.roundMs !== undefined) void progress.vouch(() => notify.say('WATCHDOG=1'), draining.signal)
    log.info('ready')
    outcome = await stop.promise
  } catch (error) {
    outcome = { why: 'failed', error: error as Error }
  }

  health.enter('draining')
  notify.say('STOPPING=1', `EXTEND_TIMEOUT_USEC=${(config.drainMs + STOPPING_MS) * 1000}`)
  log.info('draining', { why: outcome.why })
  draining.abort(new Error(`draining: ${outcome.why}`))
  await drain(stack, config.drainMs, log, outcome.error === undefined)
  health.enter('stopped')
  notify.close()
  return ending(outcome.error, log, env)
}

/** Releases everything within the deadline. Past it, the process ends with exit code 1. */
async function drain(stack: AsyncDisposableStack, drainMs: number, log: Log, clean: boolean): Promise<void> {
  const deadline = setTimeout(() => {
    log.error('drain deadline passed, stopping with unfinished work', { drainMs })
    void log.end().finally(() => process.exit(EXIT.failed))
  }, drainMs)
  deadline.unref()
  try {
    await stack.disposeAsync()
    log.info('stopped')
  } catch (error) {
    log.error('stop failed', { error })
    if (clean) process.exitCode = EXIT.failed
  }
  // The deadline stays set: it also ends a process that something not released keeps alive.
}

function ending(error: Error | undefined, log: Log, env: Env): number {
  if (error === undefined) return process.exitCode === EXIT.failed ? EXIT.failed : EXIT.done
  if (error instanceof ConfigError) {
    printError(error.message, env)
    return EXIT.config
  }
  const { next } = error as { readonly next?: unknown }
  log.error('failed', { error, ...(typeof next === 'string' ? { next } : {}) })
  return EXIT.failed
}

/** Prints an error for a person to standard error. */
function printError(text: string, env: Env): void {
  process.stderr.write(`${priorityMarkFor(2, env)('error', text)}\n`)
}
