import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, isIP } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { checkServerIdentity, connect, createServer, type PeerCertificate } from 'node:tls'
import { UsageError } from '#console/failure.ts'
import { readAuthority, readCertificateFacts, readCertificates, troubleWith } from '#fleet/certificate.ts'
import { S2Error } from '#fleet/errors.ts'
import { hasSucceeded } from '#runtime/command.ts'
import { adviceOnCertificate } from '#store/remote/server-trust.ts'
import { makeCertificate, readName } from '../make-certificate.ts'
import type { BridgeAddress, Trust } from './bridge-address.ts'
import { ownAddresses } from './bridge-address.ts'
import type { QuestionContext } from './question-context.ts'
import { environmentOf, isHiddenFromServices, runAs } from './service-user.ts'
import type { SettingValues } from './settings-draft.ts'
import type { Todo } from './todo.ts'

/** How workers know that they speak to the bridge, and what the bridge is told for that. */
export interface ChosenCertificate {
  readonly trust: Trust | null
  readonly settings: SettingValues
  readonly left: readonly Todo[]
}

/** A certificate for an address: the one that is set, one made here, files of somebody's, or that of a proxy in front. */
export async function certificateFor(talk: QuestionContext, address: BridgeAddress): Promise<ChosenCertificate> {
  const { host, given, dialogue } = talk
  const { S2_TLS_CERT: cert, S2_TLS_KEY: key, S2_TLS_CA: ca, S2_BEHIND_PROXY: proxy } = host.set
  const isOpen = given.force === true || given.certificate !== undefined || given.tlsCert !== undefined
  if (!isOpen && proxy === 'yes') return { trust: 'proxy', settings: {}, left: [] }
  if (!isOpen && cert !== undefined && key !== undefined) {
    const fault = await certificateFault(talk, address, { cert, key, ca })
    if (fault === null) dialogue.say(`the certificate ${cert} is set, and good for ${address.host}`)
    else dialogue.say(`${cert}: ${fault.why}`)
    const left = fault === null ? [] : [{ what: `mend the certificate ${cert}: ${fault.why}` }]
    return { trust: 'files', settings: {}, left }
  }
  const trust = given.certificate ?? (given.tlsCert === undefined ? await askTrust(talk) : 'files')
  if (trust === 'proxy') return { trust, settings: {}, left: [] }
  if (trust === 'own') return await makeOwn(talk, address)
  if (trust === 'files') return await takeFiles(talk, address)
  const what =
    'say how workers recognise the bridge: by a certificate made here (own), by files of yours, or by a proxy'
  return { trust: null, settings: {}, left: [{ what, commands: [`${host.command} init --certificate own`] }] }
}

/** Null where nobody can be asked. */
async function askTrust({ dialogue }: QuestionContext): Promise<Trust | null> {
  if (!dialogue.canAsk) return null
  const check = (answer: string): string | null => (/^(own|files|proxy)?$/.test(answer) ? null : 'own, files or proxy')
  const question =
    'Its certificate: made here (own), files that you have (files), or that of a proxy in front (proxy)? Enter: own '
  return ((await dialogue.ask(question, check)) || 'own') as Trust
}

/** The least port that a service which is not root may listen on. */
const PORT_LEAST = 1_024

async function makeOwn(
  { host, context, dialogue, onMade }: QuestionContext,
  address: BridgeAddress,
): Promise<ChosenCertificate> {
  checkPort(address)
  const names = [address.host, ...[hostname(), ...ownAddresses()].filter(canBeNamed)]
  const { files, facts, isNewAuthority } = await makeCertificate(
    { folder: join(host.folder, 'tls'), names: [...new Set(names)] },
    { clock: context.clock, env: context.env },
  )
  onMade(`a certificate: ${files.cert}`)
  const until = new Date(facts.notAfter).toISOString().slice(0, 10)
  dialogue.say(`${files.cert}: for ${facts.names.join(', ')}, until ${until}`)
  if (isNewAuthority) dialogue.say('workers get its authority with their credentials: nothing has to be copied')
  return { trust: 'own', settings: { S2_TLS_CERT: files.cert, S2_TLS_KEY: files.key, S2_TLS_CA: files.ca }, left: [] }
}

/** A machine may be called what no certificate can name, such as my_host. */
function canBeNamed(host: string): boolean {
  try {
    readName(host)
    return true
  } catch {
    return false
  }
}

function checkPort({ port, url }: BridgeAddress): void {
  if (port >= PORT_LEAST) return
  throw new UsageError(
    `the bridge does not run as root, so it cannot listen on port ${port} of ${url}`,
    `take a port from ${PORT_LEAST} on, such as :7433, or a proxy (--certificate proxy)`,
  )
}

interface Files {
  readonly cert: string
  readonly key: string
  readonly ca: string | undefined
}

async function takeFiles(talk: QuestionContext, address: BridgeAddress): Promise<ChosenCertificate> {
  const { dialogue, given } = talk
  checkPort(address)
  const path = async (said: string | undefined, question: string): Promise<string> => {
    if (said !== undefined) return said
    if (!dialogue.canAsk) throw new UsageError('missing the files of the certificate', 'add --tls-cert and --tls-key')
    return await dialogue.ask(question, (answer) => (answer.startsWith('/') ? null : 'it must begin with /'))
  }
  for (let said: Partial<Files> = { cert: given.tlsCert, key: given.tlsKey } as Partial<Files>; ; said = {}) {
    const cert = await path(said.cert, 'Which file is the certificate, with those that signed it behind? ')
    const key = await path(said.key, 'Which is its key? ')
    let ca = given.tlsCa
    let fault = await certificateFault(talk, address, { cert, key, ca })
    if (fault?.wantsAuthority === true && ca === undefined && dialogue.canAsk) {
      dialogue.say(fault.why)
      ca = await path(undefined, 'Which file holds the authority, so that workers get it? ')
      fault = await certificateFault(talk, address, { cert, key, ca })
    }
    if (fault === null) {
      dialogue.say(`${cert} is good for ${address.host}`)
      const settings = { S2_TLS_CERT: cert, S2_TLS_KEY: key, ...(ca === undefined ? {} : { S2_TLS_CA: ca }) }
      return { trust: 'files', settings, left: [] }
    }
    if (!dialogue.canAsk)
      throw new S2Error('invalid', `${cert}: ${fault.why}`, { next: 'mend the files, or name others' })
    dialogue.say(fault.why)
  }
}

/** Why a certificate does not do. */
interface Fault {
  readonly why: string
  /** Whether it may do for workers that are given the authority which signed it. */
  readonly wantsAuthority?: true
}

/** Why a certificate does not do for an address, as the user of the services reads it; null when it does. */
async function certificateFault(
  talk: QuestionContext,
  { host: name }: BridgeAddress,
  { cert, key, ca }: Files,
): Promise<Fault | null> {
  const { host, context, dialogue } = talk
  const { lead } = host
  if (lead === null) return null
  const texts: string[] = []
  for (const path of [cert, key, ...(ca === undefined ? [] : [ca])]) {
    if (host.services.isOfMachine && isHiddenFromServices(path))
      return {
        why: `${path} lies where services are not let in, such as homes and /tmp: put it elsewhere, such as ${host.folder}/tls`,
      }
    const env = environmentOf(lead, {}, context)
    const ending = await runAs(lead, { argv: ['cat', '--', path], env, timeoutMs: 10_000 }, context, dialogue.signal)
    if (!hasSucceeded(ending)) return { why: `${lead.user} cannot read it: ${ending.stderr.trim()}` }
    texts.push(ending.stdout.toString('utf8'))
  }
  const [certText = '', keyText = '', caText] = texts
  try {
    const trouble = troubleWith(readCertificateFacts(certText), context.clock.wall())
    if (trouble !== null && trouble.kind !== 'expires soon') return { why: `it ${trouble.why}` }
    const [certificate] = readCertificates(certText)
    if (certificate?.checkPrivateKey(createPrivateKey(keyText)) !== true) return { why: `${key} is not its key` }
    const authority = caText === undefined ? undefined : readAuthority(caText)
    return await shakeHands({ cert: certText, key: keyText }, name, authority)
  } catch (error) {
    return { why: `it ${(error as Error).message}` }
  }
}

/** Has a client meet the certificate as workers will; why it does not trust it, or null. */
async function shakeHands(
  own: { readonly cert: string; readonly key: string },
  name: string,
  authority: string | undefined,
): Promise<Fault | null> {
  const server = createServer(own).listen(0, '127.0.0.1')
  server.on('tlsClientError', () => undefined)
  try {
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const ca = authority === undefined ? {} : { ca: authority }
    const called = isIP(name) === 0 ? { servername: name } : {}
    const checkName = (_: string, certificate: PeerCertificate): Error | undefined =>
      checkServerIdentity(name, certificate)
    const client = connect({ host: '127.0.0.1', port, ...called, checkServerIdentity: checkName, ...ca })
    client.on('error', () => undefined)
    try {
      await once(client, 'secureConnect')
      return null
    } catch (error) {
      const advice = adviceOnCertificate(error)
      if (advice?.kind === 'unknown authority')
        return {
          why: `who signed it is not known to other machines (${(error as Error).message})`,
          wantsAuthority: true,
        }
      return { why: advice === null ? (error as Error).message : advice.what }
    } finally {
      client.destroy()
    }
  } finally {
    server.close()
  }
}
