/** The page's table of contents: who is signed in decides what is shown. */

import { watchHealth } from "./health.js";
import { Problem, show } from "./problem.js";
import { Session } from "./session.js";
import { StudyList } from "./studies.js";
import { StudyPanel } from "./study.js";
import { UploadForm } from "./upload.js";

const element = (id) => document.getElementById(id);
const notices = element("notices");
const onProblem = (error) => show(notices, error);

const session = new Session();
const panel = new StudyPanel(session, { onDeleted, onProblem });
const list = new StudyList(session, { onOpen, onProblem });
const form = new UploadForm(session, { onRead, onProblem });

watchHealth();
showSignIn();
element("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void signIn();
});
element("sign-out").addEventListener("click", () => {
  session.signOut().catch(onProblem);
  showSignIn();
  element("username").focus();
});
session.addEventListener("ended", () => {
  showSignIn();
  onProblem(new Problem({ title: "Your session has ended", detail: "Sign in again to go on." }));
  element("username").focus();
});

async function signIn() {
  const button = element("sign-in-button");
  button.disabled = true;
  try {
    const user = await session.signIn(element("username").value, element("password").value);
    showWorkspace(user);
  } catch (error) {
    onProblem(error);
    element("password").focus();
  } finally {
    element("password").value = "";
    button.disabled = false;
  }
}

function onRead(study) {
  list.add(study);
  onOpen(study);
}

function onOpen(study) {
  notices.replaceChildren();
  panel.open(study);
}

function onDeleted(study) {
  list.remove(study.id);
}

function showSignIn() {
  // Nothing of the one who leaves stays for the next.
  form.clear();
  panel.close();
  list.clear();
  notices.replaceChildren();
  element("delete-dialog").close();
  element("account-name").textContent = "";
  element("account").hidden = element("workspace").hidden = true;
  element("sign-in").hidden = false;
}

function showWorkspace(user) {
  notices.replaceChildren();
  element("sign-in-form").reset();
  element("sign-in").hidden = true;
  element("account").hidden = element("workspace").hidden = false;
  element("account-name").textContent = user.username;
  const mayWrite = user.scopes.includes("chexray:write");
  form.allow(mayWrite);
  panel.allow(mayWrite);
  element("main").focus();
  void list.load();
}
