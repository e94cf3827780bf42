/** `expect`, assembled from @vitest/expect as vitest assembles it. */

import {
  addCustomEqualityTesters,
  ASYMMETRIC_MATCHERS_OBJECT,
  chai,
  customMatchers,
  type ExpectStatic,
  getState,
  GLOBAL_EXPECT,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  type MatcherState,
  setState,
} from "@vitest/expect";

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

/** What @vitest/expect keeps on globalThis. */
const shared = globalThis as unknown as Record<symbol, object>;

function createExpect(): ExpectStatic {
  const call = (value: unknown, message?: string) => {
    const { assertionCalls } = getState<MatcherState>(expect);
    setState({ assertionCalls: assertionCalls + 1 }, expect);
    return chai.expect(value, message);
  };
  const expect = Object.assign(call, chai.expect, shared[ASYMMETRIC_MATCHERS_OBJECT], {
    getState: () => getState<MatcherState>(expect),
    setState: (state: Partial<MatcherState>) => setState(state, expect),
    extend: (matchers: object) =>
      (chai.expect as unknown as { extend(target: unknown, matchers: object): void })
        .extend(expect, matchers),
    addEqualityTesters: addCustomEqualityTesters,
    unreachable: (message?: string) =>
      chai.assert.fail(`expected${message ? ` "${message}"` : ""} not to be reached`),
  }) as unknown as ExpectStatic;
  setState({ assertionCalls: 0 }, expect);
  return expect;
}

export const expect: ExpectStatic = createExpect();
shared[GLOBAL_EXPECT] = expect;
expect.extend(customMatchers);
