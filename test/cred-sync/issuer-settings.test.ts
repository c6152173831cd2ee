import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { makeCertificate } from '../bridge/certificate.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'

test('an authority that cannot be read any more is told by its setting, and is over when it is back', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-issuer-settings-'))
  const authority = join(state, 'ca.crt')
  const { cert } = makeCertificate(new Date())
  writeFileSync(authority, cert)
  const store = `sqlite:${join(state, 'bridge.db')}`
  await using issuer = new Program(mainOf('cred-sync'), {
    S2_STATE: state,
    S2_STORE: store,
    S2_ISSUER: 'yes',
    S2_TLS_CA: authority,
  })
  await issuer.says('ready')
  rmSync(authority)
  await issuer.says('trouble')
  const { troubles } = await askHealth('cred-sync', { path: healthSocket(state, 'cred-sync') }, systemClock)
  assert.match(troubles.issuing ?? '', /^invalid: S2_TLS_CA=\S+ cannot be read \(ENOENT\); let s2-cred-sync read/)
  assert.equal(issuer.eventsOf('trouble')[0]?.code, 'invalid')
  writeFileSync(authority, cert)
  await issuer.says('trouble is over')
  await until('it is ready', async () => {
    return (await askHealth('cred-sync', { path: healthSocket(state, 'cred-sync') }, systemClock)).ready
  })
  await issuer.end()
  rmSync(state, { recursive: true })
})
