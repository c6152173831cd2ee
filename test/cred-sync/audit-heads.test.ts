/** Heads of the audit trail: signed by the orchestrator, and kept off its machine. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type AuditHead, isHeadSigned, readHead, type SignedHead } from '#fleet/audit-head.ts'
import { S2Error } from '#fleet/errors.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { makeIdentity } from '#identity/identity-file.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { AuditHeads, headSigner } from '../../services/cred-sync/audit-heads.ts'
import { CredentialIncidents } from '../../services/cred-sync/credential-incidents.ts'
import { gitPlace, type HeadPlace, webhookPlace } from '../../services/cred-sync/head-places.ts'
import { ManualClock } from '../manual-clock.ts'
import { until } from '../until.ts'

const signer = headSigner(await makeIdentity())

class Folder implements Disposable {
  readonly path: string

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 's2-heads-'))
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true })
  }
}

/** A store whose chain ends where the test says, and the incidents that were opened in it. */
class Chain {
  head: AuditHead = { store: '0123456789abcdef', seq: 1, hash: '1'.repeat(64), at: 1 }
  readonly opened: NewIncident[] = []
  takesIncidents = true

  async openIncident(incident: NewIncident, channels: readonly string[]): Promise<boolean> {
    assert.deepEqual(channels, ['*'])
    if (!this.takesIncidents) throw new S2Error('unavailable', 'away')
    this.opened.push(incident)
    return true
  }

  async closeIncident(): Promise<boolean> {
    return assert.fail('a person ends it')
  }

  async auditHead(): Promise<AuditHead> {
    return this.head
  }

  goOnTo(seq: number): void {
    this.head = { ...this.head, seq, hash: String(seq % 10).repeat(64), at: seq }
  }
}

function headParts(chain: Chain) {
  const life = { clock: systemClock, log: recordingLog(), draining: new AbortController().signal }
  return { ...life, incidents: new CredentialIncidents(chain, life) }
}

function linesOf(folder: Folder): SignedHead[] {
  const text = readFileSync(join(folder.path, 'audit-heads.jsonl'), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => readHead(line) as SignedHead)
}

test('each new head is signed and kept, here and at every place', async () => {
  using folder = new Folder()
  const chain = new Chain()
  const taken: number[] = []
  let isOpen = true
  const place: HeadPlace = {
    name: 'post',
    keep: async ({ seq }) => {
      if (!isOpen) throw new Error('nobody answers')
      taken.push(seq)
    },
  }
  const parts = headParts(chain)
  const heads = new AuditHeads(folder.path, chain, signer, [place], parts)
  assert.equal(await heads.round(), 60_000)
  await heads.round()
  assert.deepEqual([taken, linesOf(folder).length], [[1], 1], 'nothing new, nothing told')
  isOpen = false
  chain.goOnTo(5)
  await heads.round()
  assert.equal(parts.log.records.at(-1)?.event, 'audit head not kept, retrying')
  isOpen = true
  await heads.round()
  assert.deepEqual(taken, [1, 5])
  const kept = linesOf(folder)
  assert.deepEqual(
    kept.map(({ seq }) => seq),
    [1, 5],
  )
  assert.ok(kept.every(isHeadSigned))
  assert.equal(statSync(join(folder.path, 'audit-heads.jsonl')).mode & 0o777, 0o600)
  const again = new AuditHeads(folder.path, chain, signer, [], parts)
  chain.goOnTo(6)
  await again.round()
  assert.equal(linesOf(folder).at(-1)?.key, kept[0]?.key, 'the key stays')
  assert.deepEqual(chain.opened, [])
})

test('a chain that was taken back is an incident, told once, also where a program before kept the head', async () => {
  using folder = new Folder()
  const chain = new Chain()
  chain.goOnTo(5)
  await new AuditHeads(folder.path, chain, signer, [], headParts(chain)).round()
  const parts = headParts(chain)
  const heads = new AuditHeads(folder.path, chain, signer, [], parts)
  chain.goOnTo(3)
  chain.takesIncidents = false
  await heads.round()
  assert.ok(parts.log.records.some(({ event }) => event === 'audit chain was taken back'))
  chain.goOnTo(4)
  chain.takesIncidents = true
  await heads.round()
  await heads.round()
  assert.equal(chain.opened.length, 1, 'what the store did not take is tried again')
  const [{ kind, summary } = assert.fail('no incident')] = chain.opened
  assert.equal(kind, 'audit')
  assert.match(summary, /ends at entry 3, .* names entry 5: .*s2 audit verify.*docs\/operate\.md/)
  chain.goOnTo(9)
  await heads.round()
  chain.goOnTo(8)
  await heads.round()
  assert.equal(chain.opened.length, 2, 'a second time is another cause')
  chain.head = { ...chain.head, hash: 'f'.repeat(64) }
  await heads.round()
  assert.match(chain.opened.at(-1)?.summary ?? '', /entry 8 of the audit trail is not the one/)
})

test('the head before is known where the file of heads just made room', async () => {
  using folder = new Folder()
  const chain = new Chain()
  chain.goOnTo(5)
  await new AuditHeads(folder.path, chain, signer, [], headParts(chain)).round()
  renameSync(join(folder.path, 'audit-heads.jsonl'), join(folder.path, 'audit-heads.jsonl.1'))
  writeFileSync(join(folder.path, 'audit-heads.jsonl'), '{"torn')
  chain.goOnTo(3)
  await new AuditHeads(folder.path, chain, signer, [], headParts(chain)).round()
  assert.equal(chain.opened.length, 1)
})

test('a webhook gets the head, and its refusal does not show its address', async () => {
  using folder = new Folder()
  const got: string[] = []
  let status = 204
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      got.push(body)
      response.writeHead(status).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const place = webhookPlace(new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hidden-path`))
  const chain = new Chain()
  const parts = headParts(chain)
  const heads = new AuditHeads(folder.path, chain, signer, [place], parts)
  await heads.round()
  assert.deepEqual(readHead(got[0] ?? ''), linesOf(folder)[0])
  status = 500
  chain.goOnTo(2)
  await heads.round()
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
  await heads.round()
  assert.equal(parts.log.records.length, 2)
  assert.equal(JSON.stringify(parts.log.records).includes('hidden-path'), false)
})

test('a git remote gets heads as one commit on top of the other', async () => {
  using folder = new Folder()
  const remote = join(folder.path, 'remote.git')
  execFileSync('git', ['init', '--quiet', '--bare', remote])
  const env = { PATH: process.env.PATH, HOME: folder.path }
  const place = gitPlace(remote, { clock: systemClock, chance: systemChance, env })
  const chain = new Chain()
  const parts = headParts(chain)
  const heads = new AuditHeads(folder.path, chain, signer, [place], parts)
  await heads.round()
  chain.goOnTo(2)
  await heads.round()
  assert.deepEqual(parts.log.records, [])
  const git = (...args: string[]): string => execFileSync('git', ['-C', remote, ...args], { encoding: 'utf8' })
  const branch = 's2-audit-0123456789abcdef'
  assert.equal(git('rev-list', '--count', branch).trim(), '2')
  assert.deepEqual(readHead(git('show', `${branch}:head.json`)), linesOf(folder)[1])
})

test('git that hangs ends with the time that a place has, and when the program ends', async () => {
  for (const end of ['bound', 'draining'] as const) {
    using folder = new Folder()
    const git = new HangingGit(folder.path)
    const clock = new ManualClock()
    const place = gitPlace('/nowhere.git', { clock, chance: systemChance, env: git.env })
    const chain = new Chain()
    const draining = new AbortController()
    const parts = { ...headParts(chain), clock, draining: draining.signal }
    const round = new AuditHeads(folder.path, chain, signer, [place], parts).round()
    await until('git runs', () => git.hasBegun)
    await clock.advance(10_000) // the second command would have time until the 25th second
    git.goOn()
    await until('git runs again', () => git.pid !== null)
    if (end === 'draining') draining.abort()
    else await clock.advance(10_000)
    await round
    await until(`git has ended: ${end}`, () => !isRunning(git.pid ?? 0), 20_000)
    await until('its folder is gone', () => !readdirSync(folder.path).some((name) => name.startsWith('s2-publication')))
  }
})

/** A git whose first command ends when the test says, and whose second one hangs. */
class HangingGit {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    const [begun, go, draft, pid] = ['begun', 'go', 'draft', 'pid'].map((name) => join(folder, name))
    writeFileSync(
      join(folder, 'git'),
      `#!/bin/sh
      if [ ! -e ${begun} ]; then
        : >${begun}
        until [ -e ${go} ]; do sleep 0.02; done
        exit 0
      fi
      echo $$ >${draft} && mv ${draft} ${pid}
      exec sleep 600`,
      { mode: 0o700 },
    )
  }

  get env() {
    return { PATH: `${this.#folder}:${process.env.PATH}`, HOME: this.#folder, TMPDIR: this.#folder }
  }

  get hasBegun(): boolean {
    return existsSync(join(this.#folder, 'begun'))
  }

  get pid(): number | null {
    const file = join(this.#folder, 'pid')
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null
  }

  goOn(): void {
    writeFileSync(join(this.#folder, 'go'), '')
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
