/** Who is signed in. Tokens live in this object alone: closing or reloading the page ends it. */

import { Problem } from "./problem.js";

const TOKEN = "/api/v2/auth/token";
const REVOKE = "/api/v2/auth/revoke";
const ME = "/api/v2/auth/users/me";

/** An access token is exchanged when it has less than this left, or a third of its life. */
const MARGIN_MS = 60_000;
const RETRY_MS = 10_000;

/** A signed-in user. Says `ended` when the server does not take the tokens any more. */
export class Session extends EventTarget {
  #access = "";
  #refresh = "";
  #expiresAt = 0;
  #renewAt = 0;
  #timer = 0;
  #renewal = null;

  /** Sign in, and return the account: `{username, scopes, …}`. */
  async signIn(username, password) {
    this.#take(await exchange({ grant_type: "password", username, password }));
    return (await this.ask(ME)).json();
  }

  /** Forget the tokens, and tell the server to refuse them from now on. */
  async signOut() {
    const token = this.#refresh;
    this.#forget();
    if (token) {
      await send(REVOKE, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token }),
      });
    }
  }

  /** The answer of this server to a request in the user's name. @throws {Problem} */
  async ask(path, options = {}) {
    return this.askWith(
      (token) => {
        const headers = { ...options.headers, Authorization: `Bearer ${token}` };
        return send(path, { ...options, headers });
      },
      path,
    );
  }

  /** As `ask`, where `attempt` does the asking: it gets a token and returns a `Response`. */
  async askWith(attempt, path) {
    if (new URL(path, document.baseURI).origin !== location.origin) {
      throw new Error("A token is never sent to another server.");
    }
    let response = await attempt(await this.#token());
    if (response.status === 401) {
      await this.#renew();
      response = await attempt(this.#access);
    }
    if (!response.ok) throw await Problem.of(response);
    return response;
  }

  async #token() {
    if (Date.now() >= this.#renewAt) {
      try {
        await this.#renew();
      } catch (error) {
        if (Date.now() >= this.#expiresAt) throw error;
      }
    }
    return this.#access;
  }

  /** Exchange the refresh token once, however many requests wait for it. */
  #renew() {
    this.#renewal ??= this.#renewed().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #renewed() {
    const token = this.#refresh;
    if (!token) throw new Problem({ title: "You are signed out", status: 401 });
    try {
      const pair = await exchange({ grant_type: "refresh_token", refresh_token: token });
      if (this.#refresh === token) this.#take(pair);
    } catch (error) {
      const isRefused = error instanceof Problem && (error.status === 400 || error.status === 401);
      if (isRefused && this.#refresh === token) {
        this.#forget();
        this.dispatchEvent(new Event("ended"));
      } else if (this.#refresh === token) {
        this.#schedule(RETRY_MS);
      }
      throw error;
    }
  }

  #take(pair) {
    this.#access = pair.access_token;
    this.#refresh = pair.refresh_token;
    const life = pair.expires_in * 1000;
    this.#expiresAt = Date.now() + life;
    this.#renewAt = this.#expiresAt - Math.min(MARGIN_MS, life / 3);
    this.#schedule(this.#renewAt - Date.now());
  }

  #schedule(wait) {
    clearTimeout(this.#timer);
    // What a failed renewal means is decided in #renewed; there is nobody to tell it to here.
    this.#timer = setTimeout(() => this.#renew().catch(() => {}), wait);
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#access = this.#refresh = "";
    this.#expiresAt = this.#renewAt = 0;
  }
}

async function exchange(fields) {
  const response = await send(TOKEN, { method: "POST", body: new URLSearchParams(fields) });
  if (!response.ok) throw await Problem.of(response);
  return response.json();
}

async function send(path, options) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "omit", ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : Problem.unreachable();
  }
}
