import type { Credential } from '#fleet/credential.ts'
import { isPassing } from '#fleet/errors.ts'
import { GitMirror } from '#git/git-mirror.ts'
import { type HostIdentity, readIdentity } from '#identity/identity-file.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import type { Life } from '#runtime/run.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { hintsFolder } from '#spool/credential-hint.ts'
import { publishCredential, readCredentials, removeCredential } from '#spool/credentials.ts'
import { openStore } from '#store/open-store.ts'
import { keyringOf } from '#store/remote/keyring.ts'
import { BridgeSource } from './bridge-source.ts'
import type { Config } from './config.ts'
import type { CredentialSource } from './credential-source.ts'
import { GitSource } from './git-source.ts'
import { HintLimiter } from './hint-limiter.ts'
import { LookPace } from './look-pace.ts'
import { PlainSource } from './plain-source.ts'
import { RefusalNotice } from './refusal-notice.ts'
import { type CredentialFolder, type CredentialSources, CredentialSync } from './sync-credential.ts'
import { SyncReport } from './sync-report.ts'

/** The shortest wait after a failure that may pass by itself; it doubles up to the poll's length. */
const RETRY_FIRST_MS = 1_000

/** Fetches this host's credential until the program ends: in each poll, and when a hint says that there is a new one. */
export async function fetchCredential(config: Config, life: Life): Promise<void> {
  const { clock, chance, draining, stack } = life
  const report = new SyncReport(life)
  const sync = makeSync(config, (credential) => report.published(credential), life)
  const notice = noticeOf(config, life)
  if (config.plainWorker !== null) report.warnOfPlainFiles()
  const hasCredential = async (): Promise<boolean> =>
    (await readCredentials(config.state, clock.wall())).credentials.length > 0
  const pace = new LookPace({ pollMs: config.pollMs, chance, hasCredential })
  const loop = new RetryLoop({
    clock,
    chance,
    signal: draining,
    limits: { firstMs: RETRY_FIRST_MS, mostMs: config.pollMs, leastMs: RETRY_FIRST_MS },
    step: () => look({ sync, report, notice, pace }, life),
    onTrouble: (error) => {
      report.failed(error)
      life.round()
    },
    onWell: () => undefined,
  })
  stack.defer(() => loop.done)
  const hurry = (): void => {
    pace.noteHint()
    loop.retry()
  }
  const limiter = new HintLimiter({ clock, signal: draining, hurry })
  await followHints(config.state, () => limiter.hint(), life)
}

type Look = Pick<CredentialSync, 'look' | 'refusal'>

interface LookParts {
  readonly sync: Look
  readonly report: SyncReport
  readonly notice: RefusalNotice
  readonly pace: LookPace
}

/** Looks once; answers milliseconds until the next look. Throws only what may pass by itself. */
async function look({ sync, report, notice, pace }: LookParts, { clock, round }: Life): Promise<number> {
  try {
    const outcome = await sync.look()
    if (outcome.kind !== 'waiting') {
      report.succeeded()
      await notice.tell(sync.refusal)
    }
    round(`last looked ${new Date(clock.wall()).toISOString()}`)
    return await pace.after(outcome.kind)
  } catch (error) {
    if (isPassing(error)) throw error
    report.failed(error)
    round()
    await notice.tell(sync.refusal)
    return await pace.after('refused')
  }
}

function noticeOf(
  { state, allowsPlain }: Config,
  { clock, chance, log, health, draining: signal }: Life,
): RefusalNotice {
  return new RefusalNotice({
    clock,
    log,
    health,
    signal,
    held: async () => (await readCredentials(state)).credentials,
    open: (credential) =>
      openStore(credential.bridgeUrl, { clock, chance, log }, { ...keyringOf(credential), allowsPlain }),
  })
}

function makeSync(config: Config, onPublished: (credential: Credential) => void, life: Life): Look {
  const { clock, draining } = life
  const credentials = credentialsOf(config.state, onPublished)
  if (config.plainWorker !== null && config.remote !== null) {
    const mirror = mirrorOf(config.remote, config.branch ?? 'main', config, life)
    const plain = new PlainSource(config.plainWorker, mirror, clock)
    return { look: () => CredentialSync.put(plain, credentials), refusal: null }
  }
  return new CredentialSync({
    keysFile: config.identity,
    identity: () => readIdentity(config.identity),
    sources: sourcesFor(config, life, new BridgeSource(clock, draining)),
    credentials,
    clock,
  })
}

/** The sources of a host, kept for as long as it belongs to the same fleet. */
function sourcesFor(
  config: Config,
  life: Life,
  bridge: CredentialSource,
): (identity: HostIdentity) => CredentialSources {
  let known: { readonly place: string; readonly git: CredentialSource | null } | null = null
  return ({ membership }) => {
    const remote = config.remote ?? membership?.remote ?? null
    const branch = config.branch ?? membership?.branch ?? 'main'
    const place = JSON.stringify([remote, branch, membership?.orchestrator.key])
    if (known?.place !== place) {
      const git =
        remote === null ? null : new GitSource({ mirror: mirrorOf(remote, branch, config, life), clock: life.clock })
      known = { place, git }
    }
    return { git: known.git, bridge }
  }
}

function mirrorOf(remote: string, branch: string, { mirror, gitTimeoutMs }: Config, life: Life): GitMirror {
  const { clock, env, draining: signal } = life
  return new GitMirror({ folder: mirror, remote, branch, timeoutMs: gitTimeoutMs }, { clock, env, signal })
}

/** Follows hints until the program ends. Hints from before the start need no follow-up: the first look is under way. */
export async function followHints(state: string, onHint: () => void, { clock, log, stack }: Life): Promise<void> {
  const folder = hintsFolder(state)
  // Where the folder cannot be made the polls suffice, and it is watched as soon as it exists.
  await ensureFolder(folder).catch(() => undefined)
  stack.use(watchFolder(folder, { onEvents: onHint, onDoubt: onHint }, { clock, log }))
}

function credentialsOf(state: string, onPublished: (credential: Credential) => void): CredentialFolder {
  return {
    read: async () => (await readCredentials(state)).credentials,
    publish: async (credential) => {
      await publishCredential(state, credential)
      onPublished(credential)
    },
    remove: ({ session }) => removeCredential(state, session),
  }
}
