/** A proxy in front of the bridge, as docs/install.md has it: signatures, the socket and beats pass through it. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Inbox } from '#spool/inbox.ts'
import { freePort } from '../port.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'

const noCaddy = spawnSync('caddy', ['version']).error === undefined ? false : 'there is no caddy here'

/** The Caddyfile of the document, for this name and these ports. */
function caddyfile(name: string, port: number): string {
  const document = readFileSync('docs/install.md', 'utf8')
  const written = /```caddy\n(.*?)```/s.exec(document)?.[1]
  assert.ok(written !== undefined, 'docs/install.md shows a Caddyfile')
  const here = '{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tlocal_certs\n}\n'
  return here + written.replace('bridge.example.org', name).replace('127.0.0.1:7433', `127.0.0.1:${port}`)
}

test('hosts reach the bridge through the proxy of the document', { skip: noCaddy, timeout: 300_000 }, async () => {
  await using stack = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 's2-proxy-'))
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const [outer, inner] = [await freePort(), await freePort()]
  writeFileSync(join(folder, 'Caddyfile'), caddyfile(`localhost:${outer}`, inner))
  const caddy = spawn('caddy', ['run', '--adapter', 'caddyfile', '--config', join(folder, 'Caddyfile')], {
    env: { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: 'ignore',
  })
  stack.defer(() => void caddy.kill())
  const authority = join(folder, 'caddy/pki/authorities/local/root.crt')
  await until('the proxy has made its authority', () => existsSync(authority))
  const lead = {
    S2_STATE: join(folder, 'lead'),
    S2_LISTEN: `127.0.0.1:${inner}`,
    S2_BEHIND_PROXY: 'yes',
    S2_ALLOWED_HOSTS: `localhost:${outer}`,
    S2_BRIDGE_URL: `https://localhost:${outer}`,
    S2_TLS_CA: authority,
  }
  const worker = { S2_STATE: join(folder, 'worker'), S2_BEAT: '500ms', S2_GIT_POLL: '500ms' }
  const s2 = (settings: Readonly<Record<string, string>>, words: readonly string[], input = ''): string =>
    execFileSync(process.execPath, [mainOf('cli'), ...words], {
      env: { PATH: process.env.PATH, ...settings },
      input,
      encoding: 'utf8',
    })
  await stack.use(new Program(mainOf('bridge'), lead)).says('listening')
  await stack.use(new Program(mainOf('cred-sync'), { ...lead, S2_ISSUER: 'yes' })).says('ready')
  s2(worker, ['worker', 'join', '-'], s2(lead, ['worker', 'invite', '3', '--role', 'tests']))
  stack.use(new Program(mainOf('cred-sync'), worker))
  await stack.use(new Program(mainOf('keepalive'), worker)).says('link open')
  s2(lead, ['send', 's2-worker-3', 'through the proxy'])
  const inbox = new Inbox(worker.S2_STATE)
  await until('the message came through', async () => (await inbox.list('new')).length > 0)
  const [message] = await inbox.take(1)
  assert.equal(message?.text, 'through the proxy')
})
