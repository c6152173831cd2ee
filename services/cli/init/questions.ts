import { lookup } from 'node:dns/promises'
import { UsageError } from '#console/failure.ts'
import { redact } from '#fleet/redact.ts'
import { ConfigError } from '#runtime/config.ts'
import { SETTINGS, type SettingName } from '#runtime/settings.ts'
import { type BridgeAddress, bridgeSettings, ownAddresses, ownNames, parseBridge } from './bridge-address.ts'
import { checkCredential } from './check-credential.ts'
import { type ChosenCertificate, certificateFor } from './choose-certificate.ts'
import type { Check, Dialogue } from './dialogue.ts'
import { gainAccess } from './git-access.ts'
import type { QuestionContext } from './question-context.ts'
import type { SettingValues } from './settings-draft.ts'
import type { ThisHost } from './this-host.ts'
import type { Todo } from './todo.ts'
import type { Remote } from './try-remote.ts'

/** What the answers come to. */
export interface Answers {
  /** For all services of this host. */
  readonly common: SettingValues
  /** For the watcher that wakes the agent. */
  readonly watcher: SettingValues
  readonly left: readonly Todo[]
  /** Whether this host's worker was found in the remote. */
  readonly hasCredential: boolean
}

/** Asks for all that was neither said nor set, and tests each answer while the person is there to mend it. */
export async function askAll(talk: QuestionContext): Promise<Answers> {
  const { host } = talk
  const left: Todo[] = []
  const bridge = host.lead === null ? {} : await askBridge(talk, left)
  const { address, isIn } = await askRemote(talk, left)
  const S2_WORKER = host.worker === null ? undefined : await askNumber(talk)
  const isAlone = host.role === 'worker' && isIn
  const hasCredential = isAlone && (await lookForCredential(talk, address, Number(S2_WORKER), left))
  const S2_WAKE = await askWake(talk)
  return {
    common: { ...bridge, ...withoutEmpty({ S2_GIT_REMOTE: address, S2_WORKER }) },
    watcher: withoutEmpty({ S2_WAKE }),
    left,
    hasCredential,
  }
}

/** Values that are left out are no settings. */
export function withoutEmpty(values: Partial<Record<SettingName, string | undefined>>): SettingValues {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== ''),
  ) as SettingValues
}

/** Where workers reach the bridge and how they know it; what was set by hand beside it stays. */
async function askBridge(talk: QuestionContext, left: Todo[]): Promise<SettingValues> {
  const { dialogue, host } = talk
  if (dialogue.canAsk && isOpen(talk, 'S2_BRIDGE_URL', talk.given.bridgeUrl))
    dialogue.say(`This machine is ${ownNames().join(', ')}.`)
  const said = await settle(
    talk,
    'S2_BRIDGE_URL',
    talk.given.bridgeUrl,
    'At which name or address do workers reach it, with :port if not 7433? Empty: only this machine. ',
    null,
  )
  if (said === '') return {}
  const address = parseBridge(said)
  if (dialogue.canAsk) await lookUp(address, dialogue)
  const certificate =
    address.isLocal || !address.url.startsWith('https:') ? NO_CERTIFICATE : await certificateFor(talk, address)
  left.push(...certificate.left)
  const derived = { ...bridgeSettings(address, certificate.trust), ...certificate.settings }
  const isKept = (name: string): boolean =>
    talk.given.force !== true && name !== 'S2_BRIDGE_URL' && host.set[name] !== undefined
  return Object.fromEntries(Object.entries(derived).filter(([name]) => !isKept(name))) as SettingValues
}

const NO_CERTIFICATE: ChosenCertificate = { trust: null, settings: {}, left: [] }

/** Says what a person may want to know of a name before workers fail to find it. */
async function lookUp({ host }: BridgeAddress, dialogue: Dialogue): Promise<void> {
  const found = await lookup(host, { all: true }).catch(() => null)
  dialogue.goOn()
  if (found === null) {
    dialogue.say(`${host} is not known here: workers have to find it, by DNS or in their /etc/hosts`)
    return
  }
  const addresses = found.map(({ address }) => address)
  const own = ownAddresses()
  if (!addresses.some((each) => own.includes(each) || each.startsWith('127.') || each === '::1'))
    dialogue.say(
      `${host} is ${addresses.join(', ')}, which is not this machine: what has that address has to pass it on`,
    )
}

/** The remote that credentials go through, let in by it or with what is left to do for that. */
async function askRemote(talk: QuestionContext, left: Todo[]): Promise<{ address: string; isIn: boolean }> {
  const { dialogue, host, context, onMade, given } = talk
  const isDemanded = host.worker !== null
  let address = await settle(
    talk,
    'S2_GIT_REMOTE',
    given.remote,
    `Which git remote do credentials go through?${isDemanded ? '' : ' Empty: none.'} `,
    isDemanded ? 'a worker needs one' : null,
  )
  if (address === '') return { address, isIn: false }
  let isIn = true
  for (const remote of remotesOf(host, address)) {
    const access = await gainAccess(
      { ...remote, address },
      {
        context,
        dialogue,
        accepted: given.acceptHostKey,
        onMade,
        again: `${host.command} init`,
      },
    )
    if (access.left !== null) {
      isIn = false
      left.push(access.left)
    }
    address = access.address
  }
  return { address, isIn }
}

/** The remote as each half of this host uses it. */
function remotesOf({ lead, worker, set, services }: ThisHost, address: string): Remote[] {
  const branch = set.S2_GIT_BRANCH ?? SETTINGS.S2_GIT_BRANCH.fallback
  const common = { address, branch, settings: set }
  return [
    ...(lead === null ? [] : [{ ...common, user: lead, right: 'push' as const, isLocked: false }]),
    ...(worker === null ? [] : [{ ...common, user: worker, right: 'read' as const, isLocked: services.isOfMachine }]),
  ]
}

async function lookForCredential(
  { context, dialogue, host }: QuestionContext,
  address: string,
  number: number,
  left: Todo[],
): Promise<boolean> {
  const remote = remotesOf(host, address).find(({ right }) => right === 'read')
  return remote !== undefined && (await checkCredential(context, dialogue, remote, number, left))
}

async function askNumber(talk: QuestionContext): Promise<string> {
  const said = await settle(
    talk,
    'S2_WORKER',
    talk.given.number,
    'Which number has this worker? ',
    'a worker needs one',
  )
  return said === '' ? '' : String(SETTINGS.S2_WORKER.parse(said))
}

async function askWake(talk: QuestionContext): Promise<string> {
  return await settle(
    talk,
    'S2_WAKE',
    talk.given.wake,
    'Which command wakes the agent here when a message comes? Empty: none. ',
    null,
  )
}

/** Whether a person has to be asked: it was not said, and is not set or shall be changed. */
function isOpen({ host, given }: QuestionContext, name: SettingName, said: string | undefined): boolean {
  return said === undefined && (given.force === true || valueSet(host, name) === undefined)
}

function valueSet(host: ThisHost, name: SettingName): string | undefined {
  return name === 'S2_WAKE' ? (host.watcherSet[name] ?? host.set[name]) : host.set[name]
}

/** What was said by an option, is set, or is answered; empty where it is left out. `demanded` says why it cannot be. */
async function settle(
  talk: QuestionContext,
  name: SettingName,
  said: string | undefined,
  question: string,
  demanded: string | null,
): Promise<string> {
  const { dialogue, host } = talk
  if (said !== undefined) return said
  const set = valueSet(host, name)
  const fault = set === undefined || set === '' ? null : refusalOf(name, set)
  if (fault !== null) {
    if (!dialogue.canAsk) throw new ConfigError([`${name}=${redact(JSON.stringify(set))} ${fault}`])
    dialogue.say(`${name} is ${set}, as it is set: ${fault}`)
    return await dialogue.ask(question, checkOf(name, demanded ?? 'another one is needed'))
  }
  if (!isOpen(talk, name, said)) {
    dialogue.say(`${name} is ${set}, as it is set`)
    return set ?? ''
  }
  if (!dialogue.canAsk) return set ?? ''
  const answer = await dialogue.ask(
    set === undefined ? question : `${question}Enter: ${set} `,
    checkOf(name, set === undefined ? demanded : null),
  )
  return answer === '' ? (set ?? '') : answer
}

/** Why services would refuse what is set; null when they take it. */
function refusalOf(name: SettingName, set: string): string | null {
  try {
    SETTINGS[name].parse(set)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** As the setting is read. */
function checkOf(name: SettingName, demanded: string | null): Check {
  return (answer) => {
    if (answer === '') return demanded
    const { parse, example } = SETTINGS[name]
    try {
      if (name === 'S2_BRIDGE_URL') parseBridge(answer)
      else parse(answer)
      return null
    } catch (error) {
      return `it ${(error as Error).message}; for example ${example}`
    }
  }
}

/** What cannot be left out and was not answered, because nobody could be asked; and what has no place in this role. */
export function checkGiven({ host, given, dialogue }: QuestionContext): void {
  const isWorker = host.worker !== null
  const missing = [
    ...(isWorker && (given.remote ?? '') === '' && host.set.S2_GIT_REMOTE === undefined ? ['--remote'] : []),
    ...(isWorker && (given.number ?? '') === '' && host.set.S2_WORKER === undefined ? ['--number'] : []),
  ]
  if (missing.length > 0 && !dialogue.canAsk)
    throw new UsageError(`a worker needs ${missing.join(' and ')}`, `add ${missing.join(' and ')}`)
  const stray = [
    ...(host.lead === null && given.bridgeUrl !== undefined ? ['--bridge-url: it comes with the credential'] : []),
    ...(!isWorker && given.number !== undefined ? ['--number: only a worker has one'] : []),
  ]
  if (stray.length > 0) throw new UsageError(`this role has no ${stray.join(', no ')}`, 'leave it out')
}
